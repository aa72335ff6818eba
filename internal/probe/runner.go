package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/k8ssec/k8ssec/generators"
)

// Options say how to run.
type Options struct {
	Client *Client
	// Active runs the probes that create something, with pods of Image.
	Active bool
	Image  string
	// Progress is told how many probes are done; it may be nil.
	Progress func(done, total int)
	// Note is told what a person should know at once; it may be nil.
	Note func(format string, args ...any)
}

// parallel is how many probes run at the same time. With one request each they stay far below the
// share of the API server that a person has.
const parallel = 8

// ErrInterrupted says that a run was stopped. What it had created is removed.
var ErrInterrupted = errors.New("interrupted; what the probes had created is removed")

// outcome is how one check ended.
type outcome struct {
	state    State
	observed string
}

func passed(format string, args ...any) outcome { return outcome{Passed, fmt.Sprintf(format, args...)} }
func failed(format string, args ...any) outcome { return outcome{Failed, fmt.Sprintf(format, args...)} }
func skipped(format string, args ...any) outcome {
	return outcome{Skipped, fmt.Sprintf(format, args...)}
}

// want is passed where the condition holds.
func want(ok bool, format string, args ...any) outcome {
	if ok {
		return passed(format, args...)
	}
	return failed(format, args...)
}

// unable is the outcome of a check that could not be made.
func unable(err error) outcome { return skipped("could not be tried: %v", err) }

// runner is one run.
type runner struct {
	Options
	sandbox *sandbox
	nodes   onceValue[[]object]
	configz sync.Map // node name -> onceValue[object]
	pods    onceValue[[]object]
	flagz   onceValue[map[string]string]
	flow    onceValue[map[string]string]
}

// onceValue is a value that is read from the cluster once.
type onceValue[T any] struct {
	once  sync.Once
	value T
	err   error
}

func (o *onceValue[T]) get(read func() (T, error)) (T, error) {
	o.once.Do(func() { o.value, o.err = read() })
	return o.value, o.err
}

// Run runs the probes and reports on each, in the given order. An error means that the run as a whole
// broke off; what it created is removed in any case.
func Run(ctx context.Context, cluster string, probes []generators.Probe, o Options) (report *Report, err error) {
	r := &runner{Options: o}
	report = List(cluster, probes)
	report.Context, report.Server = o.Client.Context, o.Client.Server
	if o.Active && slices.ContainsFunc(probes, func(p generators.Probe) bool { return p.Check.Active() }) {
		cleanUp, err := r.prepare(ctx, probes)
		defer func() {
			// Also where a probe panics.
			if gone := cleanUp(); gone != nil {
				err = errors.Join(err, gone)
			}
		}()
		if err != nil {
			return nil, err
		}
	}
	// Records of the API server are counted, so those probes want to be alone.
	var together, alone, traffic []int
	for i := range probes {
		switch probes[i].Check.(type) {
		case generators.Audited, generators.Burst:
			alone = append(alone, i)
		case generators.Traffic:
			traffic = append(traffic, i)
		default:
			together = append(together, i)
		}
	}
	var mu sync.Mutex
	done := 0
	one := func(i int, run func() outcome) {
		begin := time.Now()
		out := run()
		mu.Lock()
		defer mu.Unlock()
		p := &report.Probes[i]
		p.State, p.Observed, p.Milliseconds = out.state, out.observed, time.Since(begin).Milliseconds()
		done++
		if o.Progress != nil {
			o.Progress(done, len(probes))
		}
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for _, i := range together {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			one(i, func() outcome { return r.check(ctx, &probes[i]) })
		})
	}
	wg.Wait()
	for _, i := range alone {
		one(i, func() outcome { return r.check(ctx, &probes[i]) })
	}
	if len(traffic) > 0 {
		outcomes := r.traffic(ctx, probes, traffic)
		for k, i := range traffic {
			one(i, func() outcome { return outcomes[k] })
		}
	}
	if ctx.Err() != nil {
		return nil, ErrInterrupted
	}
	report.count()
	return report, nil
}

// check runs one probe.
func (r *runner) check(ctx context.Context, p *generators.Probe) outcome {
	if ctx.Err() != nil {
		return skipped("interrupted")
	}
	if p.Check.Active() && r.sandbox == nil {
		return skipped("it creates something for a moment: run with --active")
	}
	switch c := p.Check.(type) {
	case generators.Admission:
		return r.admission(ctx, p.Kind, c)
	case generators.Access:
		return r.access(ctx, p.Kind, c)
	case generators.Request:
		return r.request(ctx, c)
	case generators.Handshake:
		return r.handshake(ctx, p.Kind, c)
	case generators.InPlace:
		return r.inPlace(ctx, c)
	case generators.Fairness:
		return r.fairness(ctx, c)
	case generators.Flag:
		return r.flag(ctx, c)
	case generators.KubeletSetting:
		return r.kubeletSetting(ctx, c)
	case generators.NodeRequest:
		return r.nodeRequest(ctx, c)
	case generators.Audited:
		return r.audited(ctx, c)
	case generators.AtRest:
		return r.atRest(ctx, c)
	case generators.Stored:
		return r.stored(ctx, c)
	case generators.Burst:
		return r.burst(ctx, c)
	}
	return skipped("this version of k8ssec does not know how to try it")
}
