package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeRegistry serves one tag, to those who have its token.
func fakeRegistry(t *testing.T, manifest, says string) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("scope") != "repository:team/app:pull" || r.URL.Query().Get("service") != "fake" {
			http.Error(w, "bad scope", http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, `{"token": "t"}`)
	})
	mux.HandleFunc("/v2/team/app/manifests/v1", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer t" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+s.URL+`/token",service="fake",scope="repository:team/app:pull"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if !strings.Contains(r.Header.Get("Accept"), "image.index") {
			http.Error(w, "an index was not asked for", http.StatusNotAcceptable)
			return
		}
		if says != "" {
			w.Header().Set("Docker-Content-Digest", says)
		}
		fmt.Fprint(w, manifest)
	})
	return s
}

func sum(text string) string {
	s := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(s[:])
}

const pins = `{
  "app": {
    "chart": {"url": "oci://HOST/team/app", "version": "v1", "digest": "CHART"},
    "images": {
      "main": {"repository": "HOST/team/app", "tag": "v1", "digest": ""}
    }
  },
  "plain": {
    "chart": {"url": "https://charts.internal", "name": "plain", "version": "1", "digest": ""},
    "images": {}
  },
  "tree": {
    "chart": {"url": "https://git.internal/x", "path": "chart", "version": "v2", "digest": "GIT"},
    "images": {}
  }
}
`

func TestUpdate(t *testing.T) {
	const manifest = `{"schemaVersion": 2}`
	for _, c := range []struct {
		name, manifest, says, chart, err string
		moved                            bool
	}{
		{name: "filled in", manifest: manifest, says: sum(manifest)},
		{name: "no header", manifest: manifest},
		{name: "the same again", manifest: manifest, chart: sum(manifest)},
		{name: "a moved tag", manifest: manifest, chart: "sha256:" + strings.Repeat("0", 64), err: "a tag that moved needs a look"},
		{name: "a moved tag, accepted", manifest: manifest, chart: "sha256:" + strings.Repeat("0", 64), moved: true},
		{name: "a registry that lies", manifest: manifest, says: sum("another"), err: "the registry says"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := fakeRegistry(t, c.manifest, c.says)
			host := strings.TrimPrefix(s.URL, "http://")
			before := strings.NewReplacer("HOST", host, "CHART", c.chart, "GIT", "").Replace(pins)
			file := filepath.Join(t.TempDir(), "pins.json")
			if err := os.WriteFile(file, []byte(before), 0o644); err != nil {
				t.Fatal(err)
			}
			u := &updater{
				registry: &registry{client: s.Client(), scheme: "http"}, moved: c.moved,
				commit: func(_ context.Context, url, tag string) (string, error) { return "commit of " + tag, nil },
			}
			err := u.file(t.Context(), file)
			after, readErr := os.ReadFile(file)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %v, want %q", err, c.err)
				}
				if string(after) != before {
					t.Error("the file changed all the same")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := strings.NewReplacer("HOST", host, "CHART", sum(manifest), "GIT", "commit of v2").Replace(pins)
			want = strings.Replace(want, `"tag": "v1", "digest": ""`, `"tag": "v1", "digest": "`+sum(manifest)+`"`, 1)
			if string(after) != want {
				t.Errorf("got\n%s\nwant\n%s", after, want)
			}
		})
	}
}

func TestMissingTag(t *testing.T) {
	s := fakeRegistry(t, "", "")
	r := &registry{client: s.Client(), scheme: "http"}
	_, err := r.digest(t.Context(), strings.TrimPrefix(s.URL, "http://")+"/team/app", "v9")
	if err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("got %v", err)
	}
}

// TestCommittedForm holds pins.json in the form that the update writes, so that its diff shows what
// changed and nothing else.
func TestCommittedForm(t *testing.T) {
	text, err := os.ReadFile("../pins.json")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pins.json")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	parsed, err := read(file)
	if err != nil {
		t.Fatal(err)
	}
	out, err := encode(parsed)
	if err != nil {
		t.Fatal(err)
	}
	if string(out) != string(text) {
		t.Errorf("pins.json is written otherwise:\n%s", out)
	}
}
