package upgrades_test

import (
	"encoding/json"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/k8ssec/k8ssec/generators/generatortest"
	"github.com/k8ssec/k8ssec/generators/upgrades"
)

func TestGolden(t *testing.T) { generatortest.Run(t, upgrades.New()) }

// TestBots holds that the bots' configurations are what their formats are, with fields that the bots
// know: nothing here can run the bots themselves.
func TestBots(t *testing.T) {
	known := strings.Fields("$schema description extends timezone schedule minimumReleaseAge internalChecksFilter prConcurrentLimit labels automerge flux kubernetes argocd vulnerabilityAlerts osvVulnerabilityAlerts ignorePaths packageRules")
	for _, engine := range []string{"flux", "argocd"} {
		namespace := map[string]string{"flux": "flux-system", "argocd": "argocd"}[engine]
		p := generatortest.Posture(t, `
profiles: ["baseline"]
gitops: {engine: "`+engine+`", namespace: "`+namespace+`"}
upgrades: {dependencyBot: "renovate", window: days: ["Sun", "Wed"]}
`)
		var found bool
		for _, f := range generatortest.Emit(t, upgrades.New(), p) {
			if f.Name != "renovate.json" {
				continue
			}
			found = true
			var config map[string]any
			if err := json.Unmarshal(f.Data, &config); err != nil {
				t.Fatalf("%s: %v", engine, err)
			}
			for key := range config {
				if !strings.Contains(" "+strings.Join(known, " ")+" ", " "+key+" ") {
					t.Errorf("%s: %s is no field of Renovate", engine, key)
				}
			}
			if s, ok := config["schedule"].([]any); !ok || len(s) != 2 || s[0] != "* 2-5 * * 0" || s[1] != "* 2-5 * * 3" {
				t.Errorf("%s: the schedule is %v", engine, config["schedule"])
			}
			if config["automerge"] != false {
				t.Errorf("%s: it merges by itself", engine)
			}
		}
		if !found {
			t.Errorf("%s: no renovate.json", engine)
		}
	}
	p := generatortest.Posture(t, `
profiles: ["baseline"]
gitops: path: "prod"
upgrades: dependencyBot: "dependabot"
`)
	for _, f := range generatortest.Emit(t, upgrades.New(), p) {
		if f.Name != ".github/dependabot.yml" {
			continue
		}
		var config struct {
			Version int
			Updates []struct {
				Ecosystem   string `json:"package-ecosystem"`
				Directory   string
				Directories []string
				Schedule    struct{ Interval string }
				Cooldown    struct {
					Days int `json:"default-days"`
				}
				Labels []string
				Limit  int `json:"open-pull-requests-limit"`
			}
		}
		if err := yaml.UnmarshalStrict(f.Data, &config); err != nil {
			t.Fatal(err)
		}
		if config.Version != 2 || len(config.Updates) != 2 || config.Updates[0].Directories[0] != "/prod/manifests/**" {
			t.Errorf("got %+v", config)
		}
		return
	}
	t.Error("no dependabot.yml")
}

// TestSteps holds that each supported minor has every step from it on, and the newest has none.
func TestSteps(t *testing.T) {
	for minor, want := range map[string]int{"1.34": 3, "1.35": 2, "1.36": 1, "1.37": 0} {
		p := generatortest.Posture(t, `
profiles: ["baseline"]
cluster: kubernetes: "`+minor+`"
`)
		n := 0
		for _, f := range generatortest.Emit(t, upgrades.New(), p) {
			if strings.HasPrefix(f.Name, "docs/upgrades/") {
				n++
				if n == 1 && f.Name != "docs/upgrades/"+minor+"-to-1."+next(minor)+".md" {
					t.Errorf("%s: the first step is %s", minor, f.Name)
				}
			}
		}
		if n != want {
			t.Errorf("%s: %d steps, want %d", minor, n, want)
		}
	}
}

func next(minor string) string {
	return map[string]string{"1.34": "35", "1.35": "36", "1.36": "37"}[minor]
}
