// Command standin takes the place of one of the platform's own applications in the sandbox.
//
// It honours the container contract the platform gives its applications (environment, ports, probes, signals), really checks
// its databases, and answers everything else with a description of the request. Each answer says that it is a stand-in.
package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// After SIGTERM readiness fails at once, new requests are still served for lameDuckTime, because proxies learn of a pod's end
// late, and requests in flight may then take another drainTime. The process ends within 5 s in all.
const (
	lameDuckTime = 2 * time.Second
	drainTime    = 2500 * time.Millisecond
)

func main() {
	settings, err := settingsFrom(os.Getenv)
	if err != nil {
		newLogger(os.Stderr, slog.LevelError).Error("refused to start", "service", "standin", "error", err.Error())
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	log := newLogger(os.Stdout, settings.logLevel).
		With("service", settings.service, "pod", settings.pod, "standin", true)
	if len(os.Args) > 1 {
		if err := change(ctx, os.Args[1], settings, log); err != nil {
			log.Error("the database is not changed", "error", err.Error())
			os.Exit(1)
		}
		return
	}
	if err := serve(ctx, settings, log); err != nil {
		log.Error("ended", "error", err.Error())
		os.Exit(1)
	}
}

// serve answers until ctx ends, then drains and returns.
func serve(ctx context.Context, settings settings, log *slog.Logger) error {
	if settings.metricsPort == "" {
		return errors.New("METRICS_PORT is empty; set it to the port of /metrics")
	}
	dependencies, err := connect(settings)
	if err != nil {
		return err
	}
	defer dependencies.close()
	app := newApplication(settings, dependencies, log)

	servers := []*http.Server{newServer(settings.metricsPort, app.metricsHandler(), log)}
	if settings.port != "" {
		servers = append(servers, newServer(settings.port, app.handler(), log))
	}
	failed := make(chan error, len(servers))
	for _, server := range servers {
		listener, err := net.Listen("tcp", server.Addr)
		if err != nil {
			return err
		}
		go func() { failed <- server.Serve(listener) }()
	}
	log.Info("started", "port", settings.port, "metricsPort", settings.metricsPort)

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	app.draining.Store(true)
	log.Info("draining")
	select {
	case err := <-failed:
		return err
	case <-time.After(lameDuckTime):
	}
	return shutdown(servers)
}

func shutdown(servers []*http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	problems := make([]error, len(servers))
	var waiting sync.WaitGroup
	for i, server := range servers {
		waiting.Go(func() { problems[i] = server.Shutdown(ctx) })
	}
	waiting.Wait()
	return errors.Join(problems...)
}

func newServer(port string, handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Addr:              ":" + port,
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
