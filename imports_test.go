package k8ssec_test

import (
	"encoding/json"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/k8ssec/k8ssec"

// allowed says which of our packages each package may import, by directory; "x/..." covers what
// lies below. It is the map of the house: imports run one way.
var allowed = map[string][]string{
	".":                        nil,
	"cmd/k8ssec":               {"cmd/k8ssec/cli"},
	"cmd/k8ssec/cli":           {"generators/all", "internal/app", "internal/diag", "internal/engine"},
	"cue/posture":              nil,
	"generators":               {".", "cue/posture"},
	"generators/all":           {"generators", "generators/*"},
	"generators/generatortest": {"cue/posture", "generators", "internal/diag", "internal/engine", "internal/manifest"},
	"generators/addons":        {"cue/posture", "generators"},
	"generators/addons/update": {"generators/addons"},
	"generators/*":             {"cue/posture", "generators", "generators/addons"},
	"profiles":                 nil,
	"internal/app": {
		".", "cue/posture", "generators", "internal/diag", "internal/engine", "internal/impact", "internal/lockout", "internal/manifest", "internal/merge",
		"internal/catalogue", "internal/probe", "internal/render", "internal/repo", "internal/report", "internal/schema", "internal/upgrade",
	},
	"internal/catalogue": nil,
	"internal/impact":    {"cue/posture", "internal/lockout", "internal/manifest"},
	"internal/diag":      nil,
	"internal/engine":    {".", "cue/posture", "internal/diag"},
	"internal/lockout":   {"cue/posture", "generators", "internal/diag", "internal/manifest"},
	"internal/manifest":  {"generators"},
	"internal/merge":     {"internal/manifest"},
	"internal/probe":     {"cue/posture", "generators", "internal/diag"},
	"internal/render":    {"cue/posture", "generators", "internal/engine", "internal/manifest"},
	"internal/repo":      nil,
	"internal/report": {
		".", "cue/posture", "internal/catalogue", "internal/diag", "internal/engine", "internal/render",
	},
	"internal/schema":     {"internal/manifest"},
	"internal/upgrade":    {"internal/manifest", "internal/schema"},
	"internal/schema/gen": {"internal/schema"},
}

// only says which packages alone may import a foreign one.
var only = map[string][]string{
	"cuelang.org/go":         {"internal/engine"},
	"github.com/spf13/cobra": {"cmd/k8ssec/cli"},
}

// heavy are packages that cost time at each start and memory for nothing.
var heavy = []string{"k8s.io/client-go/kubernetes", "github.com/google/cel-go", "google.golang.org/grpc", "k8s.io/apiserver/pkg/server"}

type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func TestImportDirection(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p goPackage
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		seen++
		dir := relative(p.ImportPath)
		permitted, ok := allowed[dir]
		if !ok {
			permitted, ok = allowed[path.Dir(dir)+"/*"]
		}
		if !ok {
			t.Errorf("%s is new: say in this test what it may import", dir)
			continue
		}
		for _, imported := range p.Imports {
			if imported == module || strings.HasPrefix(imported, module+"/") {
				if to := relative(imported); !matches(permitted, to) {
					t.Errorf("%s must not import %s", dir, to)
				}
				continue
			}
			for foreign, owners := range only {
				if (imported == foreign || strings.HasPrefix(imported, foreign+"/")) && !slices.Contains(owners, dir) {
					t.Errorf("%s must not import %s: only %v may", dir, imported, owners)
				}
			}
		}
		if dir != "cmd/k8ssec" {
			continue
		}
		for _, dep := range p.Deps {
			for _, h := range heavy {
				if dep == h || strings.HasPrefix(dep, h+"/") {
					t.Errorf("the command links %s", dep)
				}
			}
		}
	}
	if seen < 15 {
		t.Errorf("go list found only %d packages", seen)
	}
}

func relative(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

func matches(permitted []string, dir string) bool {
	return slices.ContainsFunc(permitted, func(p string) bool {
		return p == dir || (strings.HasSuffix(p, "/*") && path.Dir(dir) == strings.TrimSuffix(p, "/*"))
	})
}
