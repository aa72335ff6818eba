package components

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
)

// definitions are the files with the custom resource definitions that emitted objects need, by the
// module that ships them; components/crds pins the versions.
var definitions = []struct{ module, glob string }{
	{"github.com/cilium/cilium@v1.20.2", "pkg/k8s/apis/cilium.io/client/crds/v2/cilium*networkpolicies.yaml"},
	{"github.com/cilium/cilium@v1.20.2", "pkg/k8s/apis/cilium.io/client/crds/v2/ciliumcidrgroups.yaml"},
	{"github.com/fluxcd/kustomize-controller@v1.9.5", "config/crd/bases/*.yaml"},
	{"github.com/fluxcd/source-controller@v1.9.5", "config/crd/bases/*.yaml"},
}

// CRDs returns the files with the custom resource definitions of Cilium and Flux, as their modules
// ship them.
func CRDs() ([]string, error) {
	pins, err := moduleDir("crds")
	if err != nil {
		return nil, err
	}
	dirs := map[string]string{}
	var files []string
	for _, d := range definitions {
		if dirs[d.module] == "" {
			cmd := exec.Command("go", "mod", "download", "-json", d.module)
			cmd.Dir = pins
			out, err := cmd.Output()
			if err != nil {
				return nil, fmt.Errorf("download %s: %w\n%s", d.module, explain(err), out)
			}
			var info struct{ Dir string }
			if err := json.Unmarshal(out, &info); err != nil {
				return nil, err
			}
			dirs[d.module] = info.Dir
		}
		found, err := filepath.Glob(filepath.Join(dirs[d.module], filepath.FromSlash(d.glob)))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s has no %s", d.module, d.glob)
		}
		files = append(files, found...)
	}
	return files, nil
}
