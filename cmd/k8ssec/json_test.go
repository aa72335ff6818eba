package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/k8ssec/k8ssec/cmd/k8ssec/cli"
)

// TestJSON holds the JSON of each command to its documented schema.
func TestJSON(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "prod")
	old := filepath.Join(t.TempDir(), "old")
	edited := filepath.Join(dir, "manifests", "namespaces", "team-a.yaml")
	cases := []struct {
		schema string
		args   []string
		before func() error
		code   int
	}{
		{schema: "init", args: []string{"init", dir, "--profile", "cis", "-o", "json"}},
		{schema: "generate", args: []string{"generate", dir, "-o", "json"}},
		{schema: "verify", args: []string{"verify", dir, "-o", "json"}},
		{schema: "verify", args: []string{"verify", dir, "-o", "json"}, code: 2, before: func() error {
			return os.WriteFile(edited, []byte("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: team-a\n"), 0o600)
		}},
		{schema: "report", args: []string{"report", dir, "-o", "json"}},
		{schema: "generate", args: []string{"generate", dir, "-o", "json"}, code: 3, before: func() error {
			return errors.Join(os.Remove(edited), replace(filepath.Join(dir, "manifests", "access", "team-a.yaml"), "automountServiceAccountToken: false", "automountServiceAccountToken: false\nimagePullSecrets: []"),
				replace(filepath.Join(dir, "docs", "access.md"), "team-a-owners", "mine"), replace(filepath.Join(dir, "cluster.cue"), "team-a-owners", "leads"))
		}},
		{schema: "diff", args: []string{"diff", dir, "-o", "json"}, code: 3},
		{schema: "generate", args: []string{"generate", dir, "-o", "json", "--on-conflict", "theirs"}},
		{schema: "diff", args: []string{"diff", dir, "-o", "json"}, code: 2, before: func() error {
			return replace(filepath.Join(dir, "cluster.cue"), "owner:   \"team-a\"", "owner:   \"team-a\"\n\tegress: all: {peers: [{entity: \"world\"}], ports: [{port: 443}]}")
		}},
		{schema: "waivers", args: []string{"waivers", dir, "-o", "json"}, before: func() error {
			return cliError("waivers", "add", dir, "legacy", "--control", "cis-5.2.6", "--namespace", "team-a", "--reason", "until the jobs are rewritten", "--owner", "team-a", "--expires", "2027-01-31")
		}},
		{schema: "upgrade", args: []string{"upgrade", old, "--to", "1.37", "-o", "json"}, code: 2, before: func() error {
			return errors.Join(cliError("init", old, "--profile", "cis", "--kubernetes", "1.36"),
				os.WriteFile(filepath.Join(old, "manifests", "access", "mine.yaml"), []byte("apiVersion: scheduling.k8s.io/v1alpha2\nkind: Workload\nmetadata:\n  name: x\n"), 0o600))
		}},
		{schema: "explain", args: []string{"explain", dir, "-o", "json"}},
		{schema: "explain", args: []string{"explain", dir, "cis-5.2.2", "-o", "json"}},
		{schema: "explain", args: []string{"explain", dir, "manifests/network/team-a.yaml", "-o", "json"}},
		{schema: "probe", args: []string{"probe", dir, "--list", "-o", "json"}},
		{schema: "profiles", args: []string{"profiles", "-o", "json"}},
		{schema: "version", args: []string{"version", "-o", "json"}},
	}
	documented := map[string]bool{}
	for _, c := range cases {
		if c.before != nil {
			if err := c.before(); err != nil {
				t.Fatal(err)
			}
		}
		documented[c.schema] = true
		var stdout, stderr bytes.Buffer
		if code := cli.Main(c.args, &stdout, &stderr, clock); code != c.code {
			t.Errorf("%v exits with %d, want %d: %s", c.args, code, c.code, stderr.String())
			continue
		}
		schema, err := jsonschema.NewCompiler().Compile("../../docs/schemas/" + c.schema + ".json")
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(&stdout)
		if err != nil {
			t.Errorf("%v: %v", c.args, err)
			continue
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%v: %v", c.args, err)
		}
		if empty, err := json.Marshal(value); err != nil || len(empty) < 15 {
			t.Errorf("%v prints %s", c.args, empty)
		}
	}
	files, err := filepath.Glob("../../docs/schemas/*.json")
	if err != nil || len(files) != len(documented) {
		t.Errorf("%d schemas, %d are tested (%v)", len(files), len(documented), err)
	}
}

func replace(file, from, to string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(file, bytes.ReplaceAll(data, []byte(from), []byte(to)), 0o600)
}

// cliError runs the command for what it does.
func cliError(args ...string) error {
	var stdout, stderr bytes.Buffer
	if code := cli.Main(args, &stdout, &stderr, clock); code != 0 {
		return fmt.Errorf("%v exits with %d: %s", args, code, stderr.String())
	}
	return nil
}
