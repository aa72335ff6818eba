package resources

import (
	"slices"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// Where our schemas stand among those of the API server (k8s.io/apiserver
// pkg/apis/flowcontrol/bootstrap): behind kube-system-service-accounts (900), before
// service-accounts (9000) and global-default (9900). A request belongs to the first that matches,
// so nothing of the system is ever matched here.
const (
	platformPrecedence       = 8400
	tenantAccountsPrecedence = 8500
	tenantPeoplePrecedence   = 8600
)

const tenantLevel = "k8ssec-tenants"

// fairness gives the tenants a share of the API server of their own. Inside of it each user and
// service account has queues of its own, by who they are: a request can name any namespace, but
// nobody can name another identity.
func fairness(p *posture.Posture) []generators.Object {
	f := p.Resources.Fairness
	tenants := p.NamespacesOf("tenant")
	if !f.Enabled || len(tenants) == 0 {
		return nil
	}
	var accounts, people, platform []string
	for _, name := range tenants {
		accounts = append(accounts, "system:serviceaccounts:"+name)
		g := p.Namespaces[name].Groups
		for _, group := range slices.Concat(g.Owners, g.Developers, g.Viewers) {
			people = append(people, p.Identity.GroupsPrefix+group)
		}
	}
	for _, group := range append(slices.Clone(p.Access.PlatformAdmins), p.Access.BreakGlass.Group) {
		platform = append(platform, p.Identity.GroupsPrefix+group)
	}
	objects := []generators.Object{{
		Value: &flowcontrolv1.PriorityLevelConfiguration{
			TypeMeta:   metav1.TypeMeta{APIVersion: flowcontrolv1.SchemeGroupVersion.String(), Kind: "PriorityLevelConfiguration"},
			ObjectMeta: generators.Meta(domain, "", tenantLevel),
			Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
				Type: flowcontrolv1.PriorityLevelEnablementLimited,
				Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
					NominalConcurrencyShares: ptr(int32(f.TenantShares)),
					LendablePercent:          ptr(int32(50)),
					BorrowingLimitPercent:    ptr(int32(100)),
					LimitResponse: flowcontrolv1.LimitResponse{
						Type: flowcontrolv1.LimitResponseTypeQueue,
						Queuing: &flowcontrolv1.QueuingConfiguration{
							Queues: int32(f.Queues), HandSize: int32(f.HandSize), QueueLengthLimit: int32(f.QueueLength),
						},
					},
				},
			},
		},
		Why: "The tenants' share of the API server, beside about 245 shares of the built-in levels. They may borrow as much again while others are idle, " +
			"and lend half of it. Who floods the API fills its own queues, then gets 429; the others go on.",
		Claims: generators.Claims("spec.limited", "res-4"),
	}}
	add := func(name, level string, precedence int32, groups []string, why string) {
		slices.Sort(groups)
		groups = slices.Compact(groups)
		if len(groups) == 0 {
			return
		}
		objects = append(objects, generators.Object{
			Value:  flowSchema(name, level, precedence, groups),
			Why:    why,
			Claims: generators.Claims("spec", "res-4"),
		})
	}
	add("k8ssec-platform", "global-default", platformPrecedence, platform,
		"The people who run the cluster keep their own level, even those who are in a tenant's group as well.")
	add("k8ssec-tenant-accounts", tenantLevel, tenantAccountsPrecedence, accounts,
		"Requests of the tenants' service accounts, away from those of the platform's controllers.")
	add("k8ssec-tenant-people", tenantLevel, tenantPeoplePrecedence, people,
		"Requests of the tenants' people, and of what they run on their own machines.")
	return objects
}

func flowSchema(name, level string, precedence int32, groups []string) *flowcontrolv1.FlowSchema {
	subjects := make([]flowcontrolv1.Subject, len(groups))
	for i, g := range groups {
		subjects[i] = flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindGroup, Group: &flowcontrolv1.GroupSubject{Name: g}}
	}
	return &flowcontrolv1.FlowSchema{
		TypeMeta:   metav1.TypeMeta{APIVersion: flowcontrolv1.SchemeGroupVersion.String(), Kind: "FlowSchema"},
		ObjectMeta: generators.Meta(domain, "", name),
		Spec: flowcontrolv1.FlowSchemaSpec{
			PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: level},
			MatchingPrecedence:         precedence,
			DistinguisherMethod:        &flowcontrolv1.FlowDistinguisherMethod{Type: flowcontrolv1.FlowDistinguisherMethodByUserType},
			Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
				Subjects: subjects,
				ResourceRules: []flowcontrolv1.ResourcePolicyRule{{
					Verbs:        []string{flowcontrolv1.VerbAll},
					APIGroups:    []string{flowcontrolv1.APIGroupAll},
					Resources:    []string{flowcontrolv1.ResourceAll},
					ClusterScope: true,
					Namespaces:   []string{flowcontrolv1.NamespaceEvery},
				}},
				NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{
					Verbs:           []string{flowcontrolv1.VerbAll},
					NonResourceURLs: []string{flowcontrolv1.NonResourceAll},
				}},
			}},
		},
	}
}

func ptr[T any](v T) *T { return &v }
