package engine

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// clusterFile is a cluster file with n tenants.
func clusterFile(n int) []byte {
	var b strings.Builder
	b.WriteString("profiles: [\"cis\"]\n")
	for i := range n {
		fmt.Fprintf(&b, "namespaces: \"team-%05d\": {owner: \"team-%05d\", groups: {owners: [\"team-%05d\"]}, egress: db: {peers: [{cidr: \"10.9.0.0/16\"}], ports: [{port: 5432}]}}\n", i, i, i)
	}
	return []byte(b.String())
}

func BenchmarkEvaluate(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		source := clusterFile(n)
		b.Run(fmt.Sprintf("namespaces=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Evaluate(context.Background(), Options{Name: "cluster.cue", Source: source, Now: time.Unix(1795000000, 0)}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
