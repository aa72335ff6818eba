package engine

import (
	"encoding/json"
	"strings"
	"testing"
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
