package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// checkTimeout bounds one question to one dependency, the opening of its connection included. It is longer than a probe
// waits: a connection given up half-way would be begun anew by every probe, and a busy database never get ahead of them.
const checkTimeout = 20 * time.Second

// checkValidity is how long an answer is used again, so that two probes on two ports cost one query.
const checkValidity = time.Second

// dependencies are the databases an application needs to be ready. A nil member is one it does not use.
type dependencies struct {
	postgres *pgxpool.Pool
	redis    *redis.Client
	queries  *histogram // of Postgres

	mutex    sync.Mutex
	problems map[string]string
	asked    time.Time
}

// connect prepares connections; none is opened before the first check.
func connect(settings settings) (*dependencies, error) {
	logging.Disable()
	found := &dependencies{queries: newHistogram()}
	if settings.databaseURL != "" {
		config, err := pgxpool.ParseConfig(libpqAddress(settings.databaseURL))
		if err != nil {
			return nil, fmt.Errorf("DATABASE_URL is not a postgresql:// address, or the file of its sslcert cannot be read; correct it")
		}
		config.MaxConns = 2
		config.ConnConfig.ConnectTimeout = checkTimeout
		config.ConnConfig.RuntimeParams["application_name"] = settings.service
		if found.postgres, err = pgxpool.NewWithConfig(context.Background(), config); err != nil {
			return nil, fmt.Errorf("DATABASE_URL cannot be used: %w", err)
		}
	}
	if settings.redisURL != "" {
		options, err := redis.ParseURL(settings.redisURL)
		if err != nil {
			return nil, fmt.Errorf("REDIS_URL is not a redis:// or rediss:// address; correct it")
		}
		if options.TLSConfig != nil && settings.authorities != "" {
			if options.TLSConfig.RootCAs, err = authorities(settings.authorities); err != nil {
				return nil, err
			}
		}
		options.PoolSize = 2
		options.MaxRetries = -1
		options.DialTimeout, options.ReadTimeout, options.WriteTimeout = checkTimeout, checkTimeout, checkTimeout
		options.ContextTimeoutEnabled = true
		options.ClientName = settings.service
		options.DisableIdentity = true
		found.redis = redis.NewClient(options)
	}
	return found, nil
}

// authorities reads the certificates that a server's own is verified with.
func authorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("NODE_EXTRA_CA_CERTS cannot be read: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("NODE_EXTRA_CA_CERTS is %q, which holds no certificate", file)
	}
	return pool, nil
}

// libpqAddress says in libpq's words what the applications' own client is told in its own, and drops what a server
// would refuse (https://www.prisma.io/docs/orm/overview/databases/postgresql#arguments).
func libpqAddress(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return address
	}
	query := parsed.Query()
	if query.Get("sslaccept") == "strict" {
		query.Set("sslmode", "verify-full")
		query.Set("sslrootcert", query.Get("sslcert"))
		query.Del("sslcert")
	}
	for _, name := range []string{
		"connection_limit", "pgbouncer", "pool_timeout", "schema", "socket_timeout", "sslaccept", "statement_cache_size",
	} {
		query.Del(name)
	}
	parsed.RawQuery = query.Encode()
	return parsed.String()
}

func (d *dependencies) close() {
	if d.postgres != nil {
		d.postgres.Close()
	}
	if d.redis != nil {
		_ = d.redis.Close()
	}
}

// check asks each dependency a question and returns what is wrong by name; empty when all answer.
func (d *dependencies) check(ctx context.Context) map[string]string {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.problems != nil && time.Since(d.asked) < checkValidity {
		return d.problems
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	questions := d.used()
	answers := make(chan [2]string, len(questions))
	for name, ask := range questions {
		go func() {
			problem := ""
			if err := ask(ctx); err != nil {
				problem = err.Error()
			}
			answers <- [2]string{name, problem}
		}()
	}
	problems := map[string]string{}
	for range questions {
		if answer := <-answers; answer[1] != "" {
			problems[answer[0]] = answer[1]
		}
	}
	d.problems, d.asked = problems, time.Now()
	return problems
}

// used names the dependencies the application has, each with the question that proves it works.
func (d *dependencies) used() map[string]func(context.Context) error {
	questions := map[string]func(context.Context) error{}
	if d.postgres != nil {
		questions["postgres"] = func(ctx context.Context) error {
			defer func(begun time.Time) { d.queries.observe(time.Since(begun)) }(time.Now())
			var one int
			return d.postgres.QueryRow(ctx, "select 1").Scan(&one)
		}
	}
	if d.redis != nil {
		// A key, as an application asks for one. That there is none is an answer.
		questions["redis"] = func(ctx context.Context) error {
			if err := d.redis.Get(ctx, "standin").Err(); err != nil && !errors.Is(err, redis.Nil) {
				return err
			}
			return nil
		}
	}
	return questions
}
