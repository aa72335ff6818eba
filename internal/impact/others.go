package impact

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// secrets compares which secrets can be read from where: by External Secrets, and by the policies of
// Vault.
func (c *comparison) secrets() {
	c.names(secretPaths, func(name string) string { return "secrets path opens: " + name }, func(name string) string { return "secrets path closes: " + name }, Weaker, Tighter, 88)
}

// alerts compares which alerts and rules there are.
func (c *comparison) alerts() {
	c.names(alertNames, func(name string) string { return name + " is new" }, func(name string) string { return name + " disappears" }, Tighter, Weaker, 65)
}

// names compares names that are read from the text of changed files.
func (c *comparison) names(read func(file string, data []byte, objects []*object) map[string]string, added, gone func(string) string, addedDirection, goneDirection Direction, risk int) {
	before, after := map[string]string{}, map[string]string{}
	where := map[string]string{}
	collect := func(s *set, into map[string]string) {
		for name, data := range s.tree.Files {
			if a, b := c.before.Files[name], c.after.Files[name]; string(a) == string(b) {
				continue
			}
			var objects []*object
			if holdsObjects(name) {
				objects = s.file(name)
			}
			for text, id := range read(name, data, objects) {
				into[text] = id
				where[text] = name
			}
		}
	}
	collect(c.old, before)
	collect(c.next, after)
	say := func(from, to map[string]string, words func(string) string, d Direction) {
		for _, text := range sortedKeys(to) {
			if _, ok := from[text]; ok {
				continue
			}
			id := to[text]
			c.explained[id] = c.explained[id] || id != ""
			c.add(Change{
				Object: id, File: where[text], Domain: c.domain(where[text]), Direction: d, risk: risk, Meaning: words(text), Controls: c.serves(where[text], id),
			})
		}
	}
	say(before, after, added, addedDirection)
	say(after, before, gone, goneDirection)
}

var vaultPath = regexp.MustCompile(`(?ms)^path\s+"([^"]+)"\s*\{.*?capabilities\s*=\s*\[([^\]]*)\]`)

// secretPaths are the paths that a file lets somebody read, with the object that does.
func secretPaths(file string, data []byte, objects []*object) map[string]string {
	out := map[string]string{}
	if path.Ext(file) == ".hcl" {
		for _, m := range vaultPath.FindAllStringSubmatch(string(data), -1) {
			capabilities := strings.Fields(strings.NewReplacer(`"`, "", ",", " ").Replace(m[2]))
			slices.Sort(capabilities)
			out[fmt.Sprintf("%s (%s) in the Vault policy %s", m[1], strings.Join(capabilities, ", "), strings.TrimSuffix(path.Base(file), ".hcl"))] = ""
		}
		return out
	}
	for _, o := range objects {
		switch o.kind {
		case "ExternalSecret", "ClusterExternalSecret":
			spec := spec(o)
			if inner, ok := spec["externalSecretSpec"].(map[string]any); ok {
				spec = inner
			}
			for _, d := range objectsIn(spec["data"]) {
				ref, _ := d["remoteRef"].(map[string]any)
				out[fmt.Sprintf("%s in namespace %s", str(ref, "key"), o.namespace)] = o.id
			}
			for _, d := range objectsIn(spec["dataFrom"]) {
				ref, _ := d["extract"].(map[string]any)
				if key := str(ref, "key"); key != "" {
					out[fmt.Sprintf("%s in namespace %s", key, o.namespace)] = o.id
				} else {
					out[fmt.Sprintf("everything that %s finds, in namespace %s", o.name, o.namespace)] = o.id
				}
			}
		case "SecretStore", "ClusterSecretStore":
			for _, condition := range objectsIn(o.get("spec", "conditions")) {
				for _, ns := range texts(condition["namespaces"]) {
					out[fmt.Sprintf("%s %s from namespace %s", o.kind, o.name, ns)] = o.id
				}
			}
			if o.kind == "ClusterSecretStore" && len(objectsIn(o.get("spec", "conditions"))) == 0 {
				out["ClusterSecretStore "+o.name+" from every namespace"] = o.id
			}
		}
	}
	return out
}

var (
	alertLine = regexp.MustCompile(`(?m)^\s*-?\s*alert:\s*["']?([^"'\n]+?)["']?\s*$`)
	ruleLine  = regexp.MustCompile(`(?m)^\s*- rule:\s*["']?([^"'\n]+?)["']?\s*$`)
)

// alertNames are the alerts and detection rules of a file, also of those inside of a ConfigMap.
func alertNames(file string, data []byte, objects []*object) map[string]string {
	out := map[string]string{}
	if len(objects) == 0 {
		return out
	}
	id := ""
	if len(objects) == 1 {
		id = objects[0].id
	}
	for _, m := range alertLine.FindAllSubmatch(data, -1) {
		out["alert "+string(m[1])] = id
	}
	for _, m := range ruleLine.FindAllSubmatch(data, -1) {
		out["detection rule "+string(m[1])] = id
	}
	return out
}

// better says which value of an argument or field of the control plane is the stricter one.
var better = map[string]func(before, after string) Direction{
	"anonymous-auth": prefer("false"), "profiling": prefer("false"), "audit-log-maxage": more, "audit-log-maxbackup": more, "audit-log-maxsize": more,
	"service-account-lookup": prefer("true"), "service-account-max-token-expiration": less, "tls-min-version": more, "tlsMinVersion": more,
	"authorization-mode": listed, "enable-admission-plugins": listed, "disable-admission-plugins": unlistedBetter, "tls-cipher-suites": unlistedBetter,
	"tlsCipherSuites": unlistedBetter, "service-account-extend-token-expiration": prefer("false"), "readOnlyPort": prefer("0"), "bind-address": prefer("127.0.0.1"),
	"rotateCertificates": prefer("true"), "serverTLSBootstrap": prefer("true"), "protectKernelDefaults": prefer("true"), "client-cert-auth": prefer("true"),
	"peer-client-cert-auth": prefer("true"), "auto-tls": prefer("false"), "peer-auto-tls": prefer("false"), "use-service-account-credentials": prefer("true"),
	"encryption-provider-config-automatic-reload": prefer("true"), "makeIPTablesUtilChains": prefer("true"), "seccompDefault": prefer("true"),
}

func prefer(good string) func(string, string) Direction {
	return func(before, after string) Direction {
		switch {
		case after == good:
			return Tighter
		case before == good:
			return Weaker
		}
		return Neutral
	}
}

// more holds the larger number, or the later word, for the stricter one; less the smaller.
func more(before, after string) Direction {
	a, errA := strconv.ParseFloat(strings.TrimRight(before, "hms"), 64)
	b, errB := strconv.ParseFloat(strings.TrimRight(after, "hms"), 64)
	switch {
	case after == "" || errA == nil && errB == nil && b < a || (errA != nil || errB != nil) && after < before:
		return Weaker
	case before == "" || before != after:
		return Tighter
	}
	return Neutral
}

func less(before, after string) Direction {
	switch {
	case after == "":
		return Weaker
	case before == "":
		return Tighter
	}
	return map[Direction]Direction{Weaker: Tighter, Tighter: Weaker, Neutral: Neutral}[more(before, after)]
}

// listed holds each entry of a list with commas for an improvement.
func listed(before, after string) Direction {
	a, b := strings.Split(before, ","), strings.Split(after, ",")
	gone := slices.ContainsFunc(a, func(s string) bool { return s != "" && !slices.Contains(b, s) })
	added := slices.ContainsFunc(b, func(s string) bool { return s != "" && !slices.Contains(a, s) })
	switch {
	case gone || strings.Contains(after, "AlwaysAllow") && !strings.Contains(before, "AlwaysAllow"):
		return Weaker
	case added:
		return Tighter
	}
	return Neutral
}

func unlistedBetter(before, after string) Direction {
	return map[Direction]Direction{Weaker: Tighter, Tighter: Weaker, Neutral: Neutral}[listed(before, after)]
}

// controlPlane compares arguments and configuration of the control plane and the nodes.
func (c *comparison) controlPlane() {
	for _, p := range c.changed {
		o := p.any()
		if !strings.HasPrefix(o.file, "bootstrap/") || c.explained[o.id] {
			continue
		}
		if !p.both() {
			if p.next == nil {
				c.about(o, Weaker, 72, o.kind+" is no longer there")
			}
			continue
		}
		switch o.kind {
		case "Policy":
			if o.group == "audit.k8s.io" {
				c.audit(p)
			}
			continue
		case "EncryptionConfiguration":
			for _, s := range []struct {
				o *object
				d Direction
			}{{p.old, Tighter}, {p.next, Weaker}} {
				for _, r := range objectsIn(s.o.value["resources"]) {
					providers := objectsIn(r["providers"])
					if len(providers) > 0 && providers[0]["identity"] != nil {
						other := p.old
						if s.o == p.old {
							other = p.next
						}
						if !slices.ContainsFunc(objectsIn(other.value["resources"]), func(m map[string]any) bool {
							list := objectsIn(m["providers"])
							return len(list) > 0 && list[0]["identity"] != nil
						}) {
							words := "what is written to etcd is no longer encrypted"
							if s.d == Tighter {
								words = "what is written to etcd is encrypted from now on"
							}
							c.about(p.next, s.d, 91, words)
						}
					}
				}
			}
			continue
		}
		for _, f := range fields(p.old.value, p.next.value) {
			name := strings.TrimSuffix(f.Path, ".value")
			name = name[strings.LastIndexAny(name, ".[")+1:]
			name = strings.TrimSuffix(name, "]")
			d := Neutral
			if judge, ok := better[name]; ok {
				d = judge(value(f.Old), value(f.New))
			} else if strings.HasSuffix(f.Path, "authentication.anonymous.enabled") {
				d = prefer("false")(f.Old, f.New)
			} else if strings.HasSuffix(f.Path, "authorization.mode") {
				d = prefer("Webhook")(f.Old, f.New)
			}
			risk := 10
			if d != Neutral {
				risk = 71
			}
			c.about(p.next, d, risk, f.words())
		}
	}
}

// value is the value of a field; of an argument that is added or removed as a whole, its own.
func value(text string) string {
	if i := strings.Index(text, `"value":"`); i >= 0 {
		rest := text[i+len(`"value":"`):]
		if end := strings.Index(rest, `"`); end >= 0 {
			return rest[:end]
		}
	}
	return text
}

// audit compares audit policies rule by rule: a rule that silences is the one to look at.
func (c *comparison) audit(p pair) {
	a, b := objectsIn(p.old.value["rules"]), objectsIn(p.next.value["rules"])
	silent := func(rules []map[string]any) map[string]bool {
		out := map[string]bool{}
		for _, r := range rules {
			if str(r, "level") == "None" {
				out[canonical(r, false)] = true
			}
		}
		return out
	}
	x, y := silent(a), silent(b)
	for _, rule := range sortedKeys(y) {
		if !x[rule] {
			c.about(p.next, Weaker, 74, "the audit log no longer records: "+short(rule))
		}
	}
	for _, rule := range sortedKeys(x) {
		if !y[rule] {
			c.about(p.next, Tighter, 40, "the audit log records again: "+short(rule))
		}
	}
	if !c.explained[p.next.id] {
		c.about(p.next, Neutral, 44, "what the audit log records changes; the first rule that matches decides, so read them in order")
	}
}

// quotas compares what a namespace may use.
func (c *comparison) quotas() {
	for _, p := range c.changed {
		if p.any().kind != "ResourceQuota" {
			continue
		}
		switch {
		case p.next == nil:
			c.about(p.old, Weaker, 45, "the pods of "+p.old.namespace+" may use all that the cluster has")
		case p.both():
			for _, f := range fields(p.old.value, p.next.value) {
				name, ok := strings.CutPrefix(f.Path, "spec.hard")
				if !ok {
					continue
				}
				d, risk := Neutral, 12
				// More processor time is a matter of money; a port on each node, or a way in from outside, is not.
				if strings.Contains(name, "services.") {
					d, risk = less(f.Old, f.New), 58
				}
				c.about(p.next, d, risk, "the quota of "+p.next.namespace+" changes: "+f.words())
			}
		}
	}
}
