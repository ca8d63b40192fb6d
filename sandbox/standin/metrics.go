package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"
)

// buckets are the upper bounds, in seconds, that Prometheus' own clients use where none are named.
var buckets = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

// histogram counts durations by bucket.
type histogram struct {
	mutex  sync.Mutex
	counts []uint64 // one for each bucket, without those of the smaller ones; the last is for all above
	sum    float64
}

func newHistogram() *histogram {
	return &histogram{counts: make([]uint64, len(buckets)+1)}
}

func (h *histogram) observe(duration time.Duration) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	position, _ := slices.BinarySearch(buckets, duration.Seconds())
	h.counts[position]++
	h.sum += duration.Seconds()
}

// exposition writes the Prometheus text format, version 0.0.4.
// https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
type exposition struct{ io.Writer }

func (e exposition) family(name, kind, help string) {
	_, _ = fmt.Fprintf(e, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// sample writes one series; labels are pairs of name and value.
func (e exposition) sample(name string, value float64, labels ...string) {
	text := ""
	for i := 0; i < len(labels); i += 2 {
		text += fmt.Sprintf(",%s=%q", labels[i], labels[i+1])
	}
	if text != "" {
		text = "{" + text[1:] + "}"
	}
	_, _ = fmt.Fprintf(e, "%s%s %s\n", name, text, strconv.FormatFloat(value, 'g', -1, 64))
}

func (e exposition) gauge(name, help string, value float64, labels ...string) {
	e.family(name, "gauge", help)
	e.sample(name, value, labels...)
}

func (e exposition) counter(name, help string, value float64, labels ...string) {
	e.family(name, "counter", help)
	e.sample(name, value, labels...)
}

func (e exposition) histogram(name, help string, counted *histogram, labels ...string) {
	counted.mutex.Lock()
	defer counted.mutex.Unlock()
	e.family(name, "histogram", help)
	total := uint64(0)
	for i, count := range counted.counts {
		total += count
		bound := "+Inf"
		if i < len(buckets) {
			bound = strconv.FormatFloat(buckets[i], 'g', -1, 64)
		}
		e.sample(name+"_bucket", float64(total), append(slices.Clone(labels), "le", bound)...)
	}
	e.sample(name+"_sum", counted.sum, labels...)
	e.sample(name+"_count", float64(total), labels...)
}

// export writes what this process knows: first about itself as a stand-in, then what docs/service-contract.md asks of the
// application in whose place it is. Requests and queries are counted; of Fabric there is nothing to count, so an outbox is
// empty, no event is late, and who is told of Fabric says that it is connected.
func (a *application) export(e exposition, problems map[string]string) {
	e.gauge("gx_standin_info", "This is the sandbox's stand-in, not the application.", 1, "service", a.settings.service)
	e.gauge("gx_standin_started_seconds", "Unix time of the start.", float64(a.started.Unix()))
	e.family("gx_standin_dependency_up", "gauge", "Whether a dependency answers.")
	for _, name := range slices.Sorted(maps.Keys(a.dependencies.used())) {
		up := 1.0
		if problems[name] != "" {
			up = 0
		}
		e.sample("gx_standin_dependency_up", up, "dependency", name)
	}

	if a.settings.port != "" {
		e.counter("http_requests_total", "Answers, but for those to probes.", float64(a.requests.Load()),
			"service", a.settings.service, "status", "200")
		e.histogram("http_request_duration_seconds", "Time to answer.", a.answers, "service", a.settings.service)
	}
	if a.dependencies.postgres != nil {
		e.histogram("prisma_query_duration_seconds", "Time of a query of the readiness check.", a.dependencies.queries)
	}
	switch a.settings.service {
	case "outbox-submitter":
		e.gauge("outbox_command_queue_depth", "Always 0 in a stand-in.", 0)
		e.counter("outbox_commands_failed_total", "Always 0 in a stand-in.", 0)
	case "projector":
		e.gauge("projector_lag_milliseconds", "Always 0 in a stand-in.", 0)
		e.counter("event_processing_total", "Always 0 in a stand-in.", 0)
	}
	if len(a.settings.fabric) > 0 {
		e.gauge("fabric_sdk_connection_status", "Always 1 in a stand-in that is told of Fabric.", 1)
	}
}
