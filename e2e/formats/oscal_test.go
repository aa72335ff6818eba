package formats

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/defenseunicorns/go-oscal/src/pkg/validation"
)

// TestOSCAL holds the export to OSCAL's own schema, and shows that the schema refuses what is wrong.
func TestOSCAL(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "prod")
	k8ssec(t, "init", dir, "--profile", "cis")
	document := k8ssec(t, "report", dir, "-o", "oscal")
	validate := func(doc []byte) error {
		v, err := validation.NewValidator(doc)
		if err != nil {
			t.Fatal(err)
		}
		if v.GetSchemaVersion() != "1.1.3" {
			t.Fatalf("the document is of OSCAL %s", v.GetSchemaVersion())
		}
		return v.Validate()
	}
	if err := validate(document); err != nil {
		t.Errorf("%.2000s", err)
	}
	if n := bytes.Count(document, []byte(`"objective-id"`)); n < 131+19+10+29+40 {
		t.Errorf("%d findings", n)
	}
	for name, edit := range map[string][2]string{
		"a state that is none":  {`"not-satisfied"`, `"perhaps"`},
		"a target without type": {`"type": "objective-id",`, ``},
		"an id that is no UUID": {`"observation-uuid": "`, `"observation-uuid": "x`},
	} {
		broken := strings.Replace(string(document), edit[0], edit[1], 1)
		if broken == string(document) {
			t.Errorf("%s: nothing to break", name)
		} else if validate([]byte(broken)) == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
