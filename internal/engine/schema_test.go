package engine

import (
	"encoding/json"
	"slices"
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

// TestProfileFields holds the lists of checkProfile against cue/control.
func TestProfileFields(t *testing.T) {
	l := newLoader("")
	schema, err := l.shipped("cue/control")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{"#Profile": profileFields, "#Control": controlFields} {
		iter, err := schema.LookupPath(cue.ParsePath(name)).Fields(cue.Optional(true))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for iter.Next() {
			got = append(got, iter.Selector().Unquoted())
		}
		slices.Sort(got)
		sorted := slices.Sorted(slices.Values(want))
		if !slices.Equal(got, sorted) {
			t.Errorf("%s has %v, checkProfile knows %v", name, got, sorted)
		}
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
