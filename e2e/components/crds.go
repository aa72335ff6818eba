package components

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// definition is a file, or several, of a module.
type definition struct{ module, glob string }

// definitions are the files with the custom resource definitions that emitted objects need, by the
// module that ships them; components/crds pins the versions.
var definitions = []definition{
	{"github.com/cilium/cilium", "pkg/k8s/apis/cilium.io/client/crds/v2/cilium*networkpolicies.yaml"},
	{"github.com/cilium/cilium", "pkg/k8s/apis/cilium.io/client/crds/v2/ciliumcidrgroups.yaml"},
	{"github.com/fluxcd/kustomize-controller", "config/crd/bases/*.yaml"},
	{"github.com/fluxcd/source-controller", "config/crd/bases/*.yaml"},
	{"github.com/vmware-tanzu/velero", "config/crd/v1/bases/*.yaml"},
}

// addonDefinitions are those of the add-ons, for tests that apply what they read.
var addonDefinitions = []definition{
	{"github.com/cilium/tetragon", "install/kubernetes/tetragon/crds-yaml/cilium.io_tracingpolicies.yaml"},
	{"github.com/external-secrets/external-secrets", "config/crds/bases/external-secrets.io_externalsecrets.yaml"},
	{"github.com/external-secrets/external-secrets", "config/crds/bases/external-secrets.io_secretstores.yaml"},
	{"sigs.k8s.io/security-profiles-operator", "deploy/base-crds/crds/seccompprofile.yaml"},
}

// CRDs returns the files with the custom resource definitions of Cilium, Flux and Velero, as their modules
// ship them.
func CRDs() ([]string, error) { return files(definitions) }

// AddonCRDs returns those of External Secrets, the Security Profiles Operator and Tetragon.
func AddonCRDs() ([]string, error) { return files(addonDefinitions) }

func files(definitions []definition) ([]string, error) {
	var files []string
	for _, d := range definitions {
		dir, err := Module(d.module)
		if err != nil {
			return nil, err
		}
		found, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(d.glob)))
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

// Module returns the folder of a module that components/crds pins, for what it ships besides Go.
func Module(path string) (string, error) {
	pins, err := moduleDir("crds")
	if err != nil {
		return "", err
	}
	version, err := ModuleVersion(path)
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "mod", "download", "-json", path+"@"+version)
	cmd.Dir = pins
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("download %s: %w\n%s", path, explain(err), out)
	}
	var info struct{ Dir string }
	if err := json.Unmarshal(out, &info); err != nil {
		return "", err
	}
	return info.Dir, nil
}

// ModuleVersion returns the version of a module that components/crds pins, with its "v".
func ModuleVersion(path string) (string, error) {
	pins, err := moduleDir("crds")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Version}}", path)
	cmd.Dir = pins
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("version of %s: %w", path, explain(err))
	}
	return strings.TrimSpace(string(out)), nil
}
