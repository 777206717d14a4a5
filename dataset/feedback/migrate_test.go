package feedback

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/stretchr/testify/require"
)

// released are the SHA-256 of the migrations that were released. They are never changed.
var released = []string{
	"6d341d88fc19a333f08d100a0398d431ab479c4a66b89648a5b9b16b237b47f1",
}

func TestReleasedMigrationsStay(t *testing.T) {
	for i, want := range released {
		got := sha256.Sum256([]byte(migrations[i]))
		require.Equal(t, want, hex.EncodeToString(got[:]), "migration %d", i+1)
	}
}

// old makes a database by the first migrations alone, with what the store has of their tables and
// columns, and opens it.
func (s *testStore) old(version int) *testStore {
	s.t.Helper()
	ctx := s.t.Context()
	o := &testStore{clock: s.clock, t: s.t, folder: s.t.TempDir()}
	path := filepath.Join(o.folder, "labels.db")
	db, err := sql.Open("sqlite", source(path))
	require.NoError(s.t, err)
	for _, m := range migrations[:version] {
		_, err = db.Exec(m)
		require.NoError(s.t, err)
	}
	tables := map[string]string{} // and their columns
	rows, err := db.Query(`
		SELECT m.name, group_concat(c.name, ', ') FROM sqlite_schema m, pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' GROUP BY m.name`)
	require.NoError(s.t, each(rows, err, func(row scanner) error {
		var table, columns string
		err := row.Scan(&table, &columns)
		tables[table] = columns
		return err
	}))
	require.Len(s.t, tables, 13)
	_, err = db.Exec(fmt.Sprintf(`PRAGMA user_version = %d; PRAGMA application_id = %d;
		DELETE FROM queues`, version, applicationID))
	require.NoError(s.t, err)
	require.NoError(s.t, db.Close())

	conn, err := s.pool.Conn(ctx)
	require.NoError(s.t, err)
	defer conn.Close()
	_, err = conn.ExecContext(ctx, `PRAGMA foreign_keys = 0; ATTACH '`+path+`' AS old`)
	require.NoError(s.t, err)
	for table, columns := range tables {
		_, err = conn.ExecContext(ctx, fmt.Sprintf(
			`INSERT INTO old.%s (%s) SELECT %[2]s FROM main.%[1]s`, table, columns))
		require.NoError(s.t, err)
	}
	_, err = conn.ExecContext(ctx, `DETACH old; PRAGMA foreign_keys = 1`)
	require.NoError(s.t, err)
	o.open()
	s.t.Cleanup(func() { o.Close() })
	return o
}

// A store of an earlier version has all that was in it, and goes on.
func TestEarlierVersions(t *testing.T) {
	s := newStore(t)
	s.add(4, "a dog", "a cat")
	s.raters("anna", "ben", "cleo")
	require.NoError(t, s.SetRaters(t.Context(), "", 2))
	s.next("anna", 3)
	for i, id := range s.next("anna", 2) {
		s.say(fmt.Sprint("a", i), "anna", id, dataset.Good)
	}
	s.say("b", "ben", "p0", dataset.Skip)
	s.say("c", "ben", "p0", dataset.Bad)
	require.NoError(t, s.AddPairs(t.Context(), Pair{
		"first", "1", "a dog", "base", "tuned", []string{"p0"}, []string{"p2"},
	}))
	_, err := s.Vote(t.Context(), Vote{
		Answer: "v", Study: "first", Pair: "1", Question: Fidelity, Rater: "ben", Choice: B,
	})
	require.NoError(t, err)

	o := s.old(1)
	require.NoError(t, o.Check(t.Context()))
	require.Equal(t, s.archive(), o.archive())
	require.Equal(t, s.overview(), o.overview())
	for _, rater := range []string{"anna", "ben", "cleo"} {
		require.Equal(t, s.peek(rater), o.peek(rater))
	}
	for _, s := range []*testStore{s, o} { // what is new works in both
		require.NoError(t, s.SetTogether(t.Context(), 2))
		require.NoError(t, s.SetGold(t.Context(), "p0", dataset.Good))
		require.NoError(t, s.First(t.Context(), []string{"p7"}))
		require.NoError(t, s.Check(t.Context()))
	}
	require.Equal(t, s.through("ben"), o.through("ben"))
	require.Equal(t, s.overview(), o.overview())
	require.NoError(t, o.Close())
	o.open()
	require.NoError(t, o.Check(t.Context()))
	var version int
	row := o.pool.QueryRowContext(t.Context(), `PRAGMA user_version`)
	require.NoError(t, row.Scan(&version))
	require.Equal(t, len(migrations), version)
}

// An archive that the first version wrote.
const archive1 = `{"kudos":"feedback","version":1}
{"rater":{"name":"anna","added":"2026-01-02T02:04:05.678Z"}}
{"picture":{"sample":{"id":"p0","prompt":"a dog","file":"images/0.png"},` +
	`"sha256":"00ff","size":2,"added":"2026-01-02T02:04:05.678Z"}}
{"wanted":{"study":"","raters":2}}
{"judgement":{"picture":"p0","label":"good","answer":"1","rater":"anna",` +
	`"at":"2026-01-02T02:04:05.678Z"}}
`

func TestEarlierArchives(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.Import(t.Context(), strings.NewReader(archive1), "old.jsonl"))
	require.NoError(t, s.Check(t.Context()))
	want := strings.Replace(archive1, `"version":1`, `"version":2`, 1)
	require.Equal(t, strings.Replace(want, `"raters":2`, `"raters":2,"together":1`, 1), s.archive())

	// What it does not say stays.
	require.NoError(t, s.SetTogether(t.Context(), 3))
	require.NoError(t, s.SetGold(t.Context(), "p0", dataset.Bad))
	require.NoError(t, s.Import(t.Context(), strings.NewReader(archive1), "old.jsonl"))
	require.Equal(t, 3, s.overview().Together)
	require.Equal(t, 1, s.overview().Gold)
	for _, version := range []string{"3", "0", "-1"} {
		text := strings.Replace(archive1, `"version":1`, `"version":`+version, 1)
		require.ErrorContains(t, s.Import(context.Background(), strings.NewReader(text), "x"),
			"version")
	}
}
