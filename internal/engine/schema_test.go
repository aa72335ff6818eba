package engine

import (
	"encoding/json"
	"strings"
	"testing"

	"cuelang.org/go/cue"
)

func TestSchemaJSON(t *testing.T) {
	data, err := SchemaJSON()
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(data) {
		t.Fatal("not JSON")
	}
	for _, want := range []string{`"podCIDRs"`, `"enforce"`, `"restricted"`, `"$schema"`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the schema does not mention %s", want)
		}
	}
	if strings.Contains(string(data), `"required": [`) {
		t.Error("a cluster file is a part of a posture, so no field is required")
	}
}

// TestShippedProfilesFitTheSchema holds what the engine does not check at each start.
func TestShippedProfilesFitTheSchema(t *testing.T) {
	for _, name := range ShippedProfiles() {
		l := newLoader("")
		schema, err := l.shipped("cue/control")
		if err != nil {
			t.Fatal(err)
		}
		profile, err := l.shipped("profiles/" + name)
		if err != nil {
			t.Fatal(err)
		}
		united := schema.LookupPath(cue.ParsePath("#Profile")).Unify(profile.LookupPath(cue.ParsePath("profile")))
		if err := united.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
