package app

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/k8ssec/k8ssec/generators/all"
)

// BenchmarkInit is the main job, without the start of the process; dry leaves the disk out.
func BenchmarkInit(b *testing.B) {
	a := &App{Now: func() time.Time { return now }, Stdout: io.Discard, Stderr: io.Discard, Version: "bench", Generators: all.List()}
	values := Values{Name: "cluster", Profiles: []string{"cis"}, Platform: "kubeadm", Kubernetes: "1.37", CNI: "cilium"}
	for _, dry := range []bool{true, false} {
		b.Run(fmt.Sprintf("dry=%v", dry), func(b *testing.B) {
			dir := b.TempDir()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				o := InitOptions{Dir: filepath.Join(dir, fmt.Sprint(i)), Values: values, DryRun: dry}
				if _, err := a.Init(context.Background(), o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
