package main

import (
	"context"
	"fmt"
	"log/slog"
)

// changes are the commands of the stand-in for the applications' migrations: what each does to the schema. Running one again
// changes nothing, as the platform demands of the real ones.
var changes = map[string]string{
	"migrate": `create table if not exists standin_country (code text primary key, name text not null)`,
	"seed": `insert into standin_country values ('DE', 'Germany'), ('MY', 'Malaysia'), ('US', 'United States')
		on conflict (code) do update set name = excluded.name`,
}

// change runs one of the commands against the database of DATABASE_URL and ends.
func change(ctx context.Context, command string, settings settings, log *slog.Logger) error {
	statement, known := changes[command]
	if !known {
		return fmt.Errorf("%q is no command; use migrate or seed, or none to serve", command)
	}
	if settings.databaseURL == "" {
		return fmt.Errorf("DATABASE_URL is empty; set it to the database to change")
	}
	dependencies, err := connect(settings)
	if err != nil {
		return err
	}
	defer dependencies.close()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if _, err := dependencies.postgres.Exec(ctx, statement); err != nil {
		return err
	}
	log.Info("the database is changed", "command", command)
	return nil
}
