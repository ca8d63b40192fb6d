package main

import (
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"sync/atomic"
	"time"
)

// application answers for one of the platform's applications.
type application struct {
	settings     settings
	dependencies *dependencies
	log          *slog.Logger
	draining     atomic.Bool
	ready        atomic.Bool
	requests     atomic.Int64
	answers      *histogram
	started      time.Time
}

func newApplication(settings settings, dependencies *dependencies, log *slog.Logger) *application {
	return &application{
		settings: settings, dependencies: dependencies, log: log, answers: newHistogram(), started: time.Now(),
	}
}

// handler serves the application's own port: probes, and an echo of everything else.
func (a *application) handler() http.Handler {
	mux := a.probes()
	mux.HandleFunc("/", a.echo)
	return mux
}

// metricsHandler serves the metrics port: probes and /metrics.
func (a *application) metricsHandler() http.Handler {
	mux := a.probes()
	mux.HandleFunc("GET /metrics", a.metrics)
	return mux
}

func (a *application) probes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(writer http.ResponseWriter, _ *http.Request) {
		a.answer(writer, http.StatusOK, map[string]any{"status": "alive"})
	})
	mux.HandleFunc("GET /readyz", a.readiness)
	return mux
}

func (a *application) readiness(writer http.ResponseWriter, request *http.Request) {
	problems := map[string]string{"process": "shutting down"}
	if !a.draining.Load() {
		problems = a.dependencies.check(request.Context())
	}
	ready := len(problems) == 0
	if a.ready.Swap(ready) != ready {
		a.log.Info("readiness changed", "ready", ready, "problems", problems)
	}
	if ready {
		a.answer(writer, http.StatusOK, map[string]any{"status": "ready"})
		return
	}
	a.answer(writer, http.StatusServiceUnavailable, map[string]any{"status": "not ready", "problems": problems})
}

func (a *application) echo(writer http.ResponseWriter, request *http.Request) {
	defer func(begun time.Time) {
		a.answers.observe(time.Since(begun))
		a.requests.Add(1)
	}(time.Now())
	headers := map[string]string{"Host": request.Host}
	for name := range request.Header {
		headers[name] = request.Header.Get(name)
	}
	a.log.Debug("request", "method", request.Method, "path", request.URL.Path)
	a.answer(writer, http.StatusOK, map[string]any{
		"node":    a.settings.node,
		"path":    request.URL.Path,
		"query":   request.URL.RawQuery,
		"method":  request.Method,
		"remote":  request.RemoteAddr,
		"headers": headers,
		"fabric":  a.settings.fabric,
	})
}

func (a *application) answer(writer http.ResponseWriter, status int, body map[string]any) {
	answer := map[string]any{"standin": true, "service": a.settings.service, "pod": a.settings.pod}
	maps.Copy(answer, body)
	if a.draining.Load() {
		// A client that keeps its connection would send the next request into the end of the process.
		writer.Header().Set("Connection", "close")
	}
	writer.Header().Set("Content-Type", "application/json")
	writer.WriteHeader(status)
	_ = json.NewEncoder(writer).Encode(answer)
}

func (a *application) metrics(writer http.ResponseWriter, request *http.Request) {
	problems := a.dependencies.check(request.Context())
	writer.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	a.export(exposition{writer}, problems)
}
