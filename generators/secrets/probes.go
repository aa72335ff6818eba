package secrets

import (
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

// Probes shows that the policies about the store hold.
func (generator) Probes(p *posture.Posture) []generators.Probe {
	if p.Secrets.Install == posture.InstallOff || !addons.StoreDecided(p) {
		return nil
	}
	if p.Workloads.Enforcement == posture.Audit {
		return nil
	}
	return admissionProbes(p, readersOf(p))
}

// refused is how a policy of this file answers.
func refused(name string) string {
	return "ValidatingAdmissionPolicy '" + name + "' with binding '" + name + "'"
}

// pair is a request that must be refused and its harmless twin.
func pair(p *posture.Posture, id, title, control, policy string, deny, allow generators.Admission) []generators.Probe {
	deny.By, deny.Warns = refused(policy), p.Workloads.Enforcement == posture.Warn
	allow.By, allow.Warns = deny.By, deny.Warns
	artifacts := []string{
		"manifests/secrets/cluster.policies.yaml: ValidatingAdmissionPolicy " + policy,
		"manifests/secrets/cluster.policies.yaml: ValidatingAdmissionPolicyBinding " + policy,
	}
	return []generators.Probe{
		{
			ID: id + "-deny", Domain: domain, Kind: generators.Deny, Title: title, Controls: []string{control},
			Artifacts: artifacts, Pair: id + "-allow", Check: deny,
		},
		{
			ID: id + "-allow", Domain: domain, Kind: generators.Allow, Title: "all else equal, but not " + title, Controls: []string{control},
			Artifacts: artifacts, Pair: id + "-deny", Plain: generators.PlainTwin, Check: allow,
		},
	}
}

func admissionProbes(p *posture.Posture, readers []reader) []generators.Probe {
	var probes []generators.Probe
	namespace, account, _ := strings.Cut(p.Secrets.Account, "/")
	controller := generators.ServiceAccount(namespace, account)

	if len(readers) > 0 {
		r := readers[0]
		// The store as it is declared, and one that speaks to somebody else.
		good := r.objects(p)[1].Value
		bad := map[string]any{
			"apiVersion": storeAPI, "kind": "SecretStore",
			"metadata": map[string]any{"name": generators.ProbeName, "namespace": r.namespace},
			"spec":     map[string]any{"provider": map[string]any{"fake": map[string]any{"data": []any{map[string]any{"key": "x", "value": "x"}}}}},
		}
		twin := *good.(*secretStore)
		twin.ObjectMeta = metav1.ObjectMeta{Name: generators.ProbeName, Namespace: r.namespace}
		probes = append(probes, pair(p, "secrets-store-provider", "a store that is not the cluster's", "sec-2", "k8ssec-secret-store-provider",
			generators.Admission{Verb: "create", Object: bad}, generators.Admission{Verb: "create", Object: &twin})...)

		patch := func(change map[string]any) generators.Admission {
			o := map[string]any{"apiVersion": storeAPI, "kind": "SecretStore"}
			for k, v := range change {
				o[k] = v
			}
			meta, _ := o["metadata"].(map[string]any)
			if meta == nil {
				meta = map[string]any{}
			}
			meta["name"], meta["namespace"] = r.account(), r.namespace
			o["metadata"] = meta
			return generators.Admission{As: generators.Janitor(), Verb: "patch", Object: o}
		}
		probes = append(probes, pair(p, "secrets-store-writers", "somebody other than Git changes a store", "sec-2", "k8ssec-secret-store-writers",
			patch(map[string]any{"spec": map[string]any{"controller": "other"}}),
			patch(map[string]any{"metadata": map[string]any{"annotations": map[string]any{"k8ssec.dev/probe": "true"}}}))...)

		token := func(namespace, name string, audiences ...string) generators.Admission {
			return generators.Admission{
				As: controller, Verb: "create", Subresource: "token",
				Object: &authenticationv1.TokenRequest{
					TypeMeta:   metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenRequest"},
					ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
					Spec:       authenticationv1.TokenRequestSpec{Audiences: audiences},
				},
			}
		}
		audiences := storeAudiences(p)
		probes = append(probes, pair(p, "secrets-reader-tokens", "External Secrets makes a token of an account that is no reader", "sec-3", "k8ssec-secret-reader-tokens",
			token("kube-system", "default", audiences...), token(r.namespace, r.account(), audiences...))...)
	}
	secret := func(namespace string) generators.Admission {
		return generators.Admission{
			As: controller, Verb: "create",
			Object: &corev1.Secret{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: generators.ProbeName},
			},
		}
	}
	if len(readers) > 0 {
		probes = append(probes, pair(p, "secrets-reader-writes", "External Secrets writes a secret where none is declared", "sec-3", "k8ssec-secret-reader-writes",
			secret("kube-system"), secret(readers[0].namespace))...)
	}
	return probes
}
