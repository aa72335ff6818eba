package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/k8ssec/k8ssec/generators"
)

// stored writes a secret with a random value into the sandbox and reads what etcd holds, with
// etcdctl in etcd's own static pod.
func (r *runner) stored(ctx context.Context, c generators.Stored) outcome {
	var list struct{ Items []object }
	if err := r.Client.get(ctx, "/api/v1/namespaces/kube-system/pods?labelSelector=component%3Detcd", &list); err != nil {
		return unable(err)
	}
	if len(list.Items) == 0 {
		return skipped("etcd does not run in a static pod of kube-system")
	}
	etcd := list.Items[0]
	flags := arguments(etcd)
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return unable(err)
	}
	value := hex.EncodeToString(random)
	a, err := r.Client.do(ctx, call{method: http.MethodPost, path: "/api/v1/namespaces/" + r.sandbox.namespace + "/secrets", body: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": generators.ProbeName}, "stringData": map[string]any{"value": value},
	}})
	if err != nil {
		return unable(err)
	}
	if !a.ok() {
		return skipped("no secret can be written: %s", clip(a.message, 200))
	}
	endpoint, _, _ := strings.Cut(flags["listen-client-urls"], ",")
	stdout, stderr, code, err := r.Client.exec(ctx, "kube-system", etcd.name(), "etcd", "etcdctl",
		"--endpoints="+endpoint, "--cacert="+flags["trusted-ca-file"], "--cert="+flags["cert-file"], "--key="+flags["key-file"],
		"get", "--print-value-only", "/registry/secrets/"+r.sandbox.namespace+"/"+generators.ProbeName)
	if err != nil {
		return skipped("no command runs in %s: %v", etcd.name(), err)
	}
	if code != 0 || len(stdout) == 0 {
		return skipped("etcdctl in %s: exit code %d: %s", etcd.name(), code, clip(string(stderr), 200))
	}
	switch {
	case bytes.Contains(stdout, []byte(value)):
		return failed("etcd holds the secret as it is")
	case !bytes.HasPrefix(stdout, []byte(c.Prefix)):
		return failed("etcd holds something else than %s", c.Prefix)
	}
	return passed("etcd holds %s and %d bytes that do not contain the secret", c.Prefix, len(stdout)-len(c.Prefix))
}

// burst sends more events of one account than it may.
func (r *runner) burst(ctx context.Context, c generators.Burst) outcome {
	account := r.sandbox.rename(generators.ServiceAccount(generators.ProbeNamespace, generators.ProbeName))
	var (
		limited, accepted atomic.Int64
		mu                sync.Mutex
		other             string
		wg                sync.WaitGroup
	)
	const workers = 16
	next := make(chan int)
	for range workers {
		wg.Go(func() {
			for i := range next {
				a, err := r.Client.do(ctx, call{
					method: http.MethodPost, path: "/api/v1/namespaces/" + r.sandbox.namespace + "/events", as: account, once: true,
					body: map[string]any{
						"apiVersion": "v1", "kind": "Event",
						"metadata":       map[string]any{"name": fmt.Sprintf("%s-%d", generators.ProbeName, i), "namespace": r.sandbox.namespace},
						"involvedObject": map[string]any{"apiVersion": "v1", "kind": "Namespace", "name": r.sandbox.namespace, "namespace": r.sandbox.namespace},
						"reason":         "Probe", "message": "k8ssec probe asks for more events than one account may send", "type": "Normal",
					},
				})
				switch {
				case err != nil:
					mu.Lock()
					other = err.Error()
					mu.Unlock()
				// API Priority and Fairness answers 429 as well, with other words.
				case a.code == http.StatusTooManyRequests && strings.Contains(a.message, "limit reached"):
					limited.Add(1)
				case a.ok():
					accepted.Add(1)
				default:
					mu.Lock()
					other = fmt.Sprintf("%d %s", a.code, clip(a.message, 200))
					mu.Unlock()
				}
			}
		})
	}
	for i := range c.Events {
		next <- i
	}
	close(next)
	wg.Wait()
	if limited.Load() == 0 && accepted.Load() == 0 {
		return skipped("no event can be sent: %s", other)
	}
	return want(limited.Load() > 0, "%d accepted, %d answered with 429", accepted.Load(), limited.Load())
}
