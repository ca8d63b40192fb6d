package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func environment(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

func mustApplication(t *testing.T, values map[string]string) *application {
	t.Helper()
	settings, err := settingsFrom(environment(values))
	if err != nil {
		t.Fatal(err)
	}
	dependencies, err := connect(settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dependencies.close)
	return newApplication(settings, dependencies, slog.New(slog.NewJSONHandler(io.Discard, nil)))
}

func get(t *testing.T, handler http.Handler, path string) (int, map[string]any) {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
	body := map[string]any{}
	if strings.Contains(recorder.Header().Get("Content-Type"), "json") {
		if err := json.Unmarshal(recorder.Body.Bytes(), &body); err != nil {
			t.Fatalf("%s: %v in %q", path, err, recorder.Body)
		}
	}
	return recorder.Code, body
}

func TestReadinessNamesEachDatabaseThatDoesNotAnswer(t *testing.T) {
	app := mustApplication(t, map[string]string{
		"SERVICE_NAME": "svc-identity", "METRICS_PORT": "9090",
		"DATABASE_URL": "postgresql://app:hidden@127.0.0.1:1/gx", "REDIS_URL": "redis://app:hidden@127.0.0.1:1/0",
	})
	status, body := get(t, app.handler(), "/readyz")
	problems, _ := body["problems"].(map[string]any)
	if status != http.StatusServiceUnavailable || problems["postgres"] == nil || problems["redis"] == nil {
		t.Fatalf("%d %v", status, body)
	}
	if text, _ := json.Marshal(body); strings.Contains(string(text), "hidden") {
		t.Fatalf("a password is in %s", text)
	}
}

func TestTheProcessIsAliveWhileItsDatabasesAreNot(t *testing.T) {
	app := mustApplication(t, map[string]string{
		"SERVICE_NAME": "svc-identity", "METRICS_PORT": "9090", "DATABASE_URL": "postgresql://app@127.0.0.1:1/gx",
	})
	if status, _ := get(t, app.metricsHandler(), "/healthz"); status != http.StatusOK {
		t.Fatal(status)
	}
}

func TestEveryAnswerSaysThatItIsAStandIn(t *testing.T) {
	app := mustApplication(t, map[string]string{
		"SERVICE_NAME": "svc-tax", "METRICS_PORT": "9090", "POD_NAME": "tax-1", "NODE_NAME": "srv1",
	})
	for _, path := range []string{"/healthz", "/readyz", "/api/v1/tax/rates"} {
		status, body := get(t, app.handler(), path)
		if status != http.StatusOK || body["standin"] != true || body["service"] != "svc-tax" || body["pod"] != "tax-1" {
			t.Fatalf("%s: %d %v", path, status, body)
		}
	}
	if _, body := get(t, app.handler(), "/api/v1/tax/rates"); body["node"] != "srv1" || body["path"] != "/api/v1/tax/rates" {
		t.Fatal(body)
	}
}

func TestReadinessFailsOnceTheProcessDrains(t *testing.T) {
	app := mustApplication(t, map[string]string{"SERVICE_NAME": "svc-tax", "METRICS_PORT": "9090"})
	app.draining.Store(true)
	if status, _ := get(t, app.handler(), "/readyz"); status != http.StatusServiceUnavailable {
		t.Fatal(status)
	}
}

func TestConnectionsAreGivenUpOnceTheProcessDrains(t *testing.T) {
	app := mustApplication(t, map[string]string{"SERVICE_NAME": "svc-tax", "METRICS_PORT": "9090"})
	for _, draining := range []bool{false, true} {
		app.draining.Store(draining)
		recorder := httptest.NewRecorder()
		app.handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/rates", nil))
		if closed := recorder.Header().Get("Connection") == "close"; recorder.Code != http.StatusOK || closed != draining {
			t.Fatal(draining, recorder.Code, recorder.Header())
		}
	}
}

func TestReadinessFailsAtOnceAfterTheSignalAndTheProcessEndsWithinFiveSeconds(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strings.TrimPrefix(listener.Addr().String(), "127.0.0.1:")
	_ = listener.Close()
	settings, err := settingsFrom(environment(map[string]string{"SERVICE_NAME": "projector", "METRICS_PORT": port}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, settings, slog.New(slog.NewJSONHandler(io.Discard, nil))) }()
	await(t, func() bool { return statusOf(port, "/readyz") == http.StatusOK })
	end()
	await(t, func() bool { return statusOf(port, "/readyz") == http.StatusServiceUnavailable })
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("still running")
	}
}

func TestALineHasTheKeysOfTheContract(t *testing.T) {
	settings, err := settingsFrom(environment(map[string]string{"SERVICE_NAME": "x", "LOG_LEVEL": "TRACE"}))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	newLogger(&out, settings.logLevel).With("service", "x").Log(context.Background(), levelTrace, "said")
	line := map[string]string{}
	if err := json.Unmarshal([]byte(out.String()), &line); err != nil {
		t.Fatal(err)
	}
	if _, err := time.Parse("2006-01-02T15:04:05.000Z", line["timestamp"]); err != nil {
		t.Fatal(err)
	}
	if line["level"] != "TRACE" || line["service"] != "x" || line["message"] != "said" || len(line) != 4 {
		t.Fatal(out.String())
	}
}

func exported(t *testing.T, values map[string]string) string {
	t.Helper()
	app := mustApplication(t, values)
	get(t, app.handler(), "/anything")
	recorder := httptest.NewRecorder()
	app.metricsHandler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return recorder.Body.String()
}

func TestEachApplicationExportsWhatItsContractAsks(t *testing.T) {
	database := map[string]string{"DATABASE_URL": "postgresql://a:b@127.0.0.1:1/gx"}
	for service, wanted := range map[string][]string{
		"svc-tax": {
			"http_requests_total{service=\"svc-tax\",status=\"200\"} 1\n",
			"http_request_duration_seconds_bucket{service=\"svc-tax\",le=\"+Inf\"} 1\n",
			"http_request_duration_seconds_count{service=\"svc-tax\"} 1\n",
			"prisma_query_duration_seconds_count 1\n",
		},
		"projector":        {"projector_lag_milliseconds 0\n", "event_processing_total 0\n", "fabric_sdk_connection_status 1\n"},
		"outbox-submitter": {"outbox_command_queue_depth 0\n", "outbox_commands_failed_total 0\n"},
	} {
		values := map[string]string{"SERVICE_NAME": service, "METRICS_PORT": "9090"}
		maps.Copy(values, database)
		if service == "svc-tax" {
			values["PORT"] = "8080"
		} else {
			values["FABRIC_PEERS"] = "peer0:7051"
		}
		text := exported(t, values)
		for _, line := range wanted {
			if !strings.Contains(text, line) {
				t.Fatalf("%s does not export %q:\n%s", service, line, text)
			}
		}
		if strings.Contains(text, "http_requests_total") != (service == "svc-tax") {
			t.Fatalf("%s counts requests, or does not:\n%s", service, text)
		}
	}
}

func TestADurationIsInItsBucketAndInAllLargerOnes(t *testing.T) {
	counted := newHistogram()
	for _, seconds := range []float64{0.005, 0.03, 60} {
		counted.observe(time.Duration(seconds * float64(time.Second)))
	}
	var out strings.Builder
	exposition{&out}.histogram("d", "x", counted)
	for _, line := range []string{`d_bucket{le="0.005"} 1`, `d_bucket{le="0.05"} 2`, `d_bucket{le="10"} 2`, `d_bucket{le="+Inf"} 3`} {
		if !strings.Contains(out.String(), line+"\n") {
			t.Fatalf("no %s in\n%s", line, out.String())
		}
	}
}

func TestAPortThatIsNoneIsRefusedByName(t *testing.T) {
	_, err := settingsFrom(environment(map[string]string{"SERVICE_NAME": "x", "METRICS_PORT": "99999"}))
	if err == nil || !strings.Contains(err.Error(), `METRICS_PORT is "99999"`) {
		t.Fatal(err)
	}
}

func TestWhatPrismaVerifiesIsVerified(t *testing.T) {
	address := libpqAddress("postgresql://a@db/gx?sslmode=require&sslaccept=strict&sslcert=/etc/ca.crt&connection_limit=5")
	if address != "postgresql://a@db/gx?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.crt" {
		t.Fatal(address)
	}
}

func TestRedisIsVerifiedWithTheGivenAuthority(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	file := filepath.Join(t.TempDir(), "ca.crt")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	problem := func(authorities string) string {
		app := mustApplication(t, map[string]string{
			"SERVICE_NAME": "svc-tax", "METRICS_PORT": "9090", "NODE_EXTRA_CA_CERTS": authorities,
			"REDIS_URL": strings.Replace(server.URL, "https", "rediss", 1),
		})
		return app.dependencies.check(context.Background())["redis"]
	}
	if found := problem(""); !strings.Contains(found, "certificate") {
		t.Fatalf("an unknown server was accepted: %q", found)
	}
	// It is no Redis, which is found out only after its certificate was accepted.
	if found := problem(file); found == "" || strings.Contains(found, "certificate") {
		t.Fatal(found)
	}
}

func TestTheApplicationsOwnConnectionParametersDoNotReachTheServer(t *testing.T) {
	address := libpqAddress("postgresql://a:b@db:5432/gx?schema=public&connection_limit=5&sslmode=require")
	if address != "postgresql://a:b@db:5432/gx?sslmode=require" {
		t.Fatal(address)
	}
}

func statusOf(port, path string) int {
	response, err := http.Get("http://127.0.0.1:" + port + path)
	if err != nil {
		return 0
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode
}

func await(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not so after 5 s")
		}
	}
}

func TestAnUnknownCommandAndAMissingDatabaseAreToldByName(t *testing.T) {
	read, err := settingsFrom(environment(map[string]string{"SERVICE_NAME": "migration"}))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewJSONHandler(io.Discard, nil))
	if err := change(context.Background(), "drop", read, log); err == nil || !strings.Contains(err.Error(), `"drop" is no command`) {
		t.Fatal(err)
	}
	if err := change(context.Background(), "migrate", read, log); err == nil || !strings.Contains(err.Error(), "DATABASE_URL is empty") {
		t.Fatal(err)
	}
}
