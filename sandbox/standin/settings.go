package main

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
)

// settings is the environment of one application container.
type settings struct {
	service     string
	port        string // empty for a worker, which serves metrics and probes only
	metricsPort string
	logLevel    slog.Level
	pod         string
	node        string
	databaseURL string // empty when the application uses no Postgres
	redisURL    string // empty when the application uses no Redis
	authorities string // file; empty when Redis is verified with the system's authorities
	fabric      map[string][]string
}

func settingsFrom(environment func(string) string) (settings, error) {
	read := settings{
		service:     environment("SERVICE_NAME"),
		port:        environment("PORT"),
		metricsPort: environment("METRICS_PORT"),
		pod:         environment("POD_NAME"),
		node:        environment("NODE_NAME"),
		databaseURL: environment("DATABASE_URL"),
		redisURL:    environment("REDIS_URL"),
		authorities: environment("NODE_EXTRA_CA_CERTS"),
		fabric:      map[string][]string{},
	}
	if read.service == "" {
		return settings{}, fmt.Errorf("SERVICE_NAME is empty; set it to the application's name")
	}
	for name, port := range map[string]string{"PORT": read.port, "METRICS_PORT": read.metricsPort} {
		if number, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || number == 0) {
			return settings{}, fmt.Errorf("%s is %q; set it to a port between 1 and 65535", name, port)
		}
	}
	if level := environment("LOG_LEVEL"); strings.EqualFold(level, "trace") {
		read.logLevel = levelTrace
	} else if level != "" {
		if err := read.logLevel.UnmarshalText([]byte(level)); err != nil {
			return settings{}, fmt.Errorf("LOG_LEVEL is %q; set it to trace, debug, info, warn or error", level)
		}
	}
	for _, name := range []string{"FABRIC_ORDERERS", "FABRIC_PEERS", "FABRIC_CAS"} {
		if value := environment(name); value != "" {
			read.fabric[name] = strings.Split(value, ",")
		}
	}
	return read, nil
}
