package feedback

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
)

// Errors that a caller can act on. Those of a Store wrap them, so that errors.Is finds them.
var (
	// ErrUnknown says that a picture, a rater, a pair or an answer is not in the store.
	ErrUnknown = errors.New("not in the store")
	// ErrConflict says that an ID stands for something else already: another picture, another
	// answer.
	ErrConflict = errors.New("stands for something else already")
	// ErrFull says that there is no room for what was to be written, and that nothing of it was.
	// What the store had before is still there.
	ErrFull = errors.New("the disk is full, and nothing was written")
	// ErrBusy says that another process has been writing to the database for five seconds.
	ErrBusy = errors.New("another process is writing to it")
	// ErrChanged says that the file of a picture is not the one that was added.
	ErrChanged = errors.New("not the file that was added")
	// ErrForeign says that a file is not a store, or that a later version of this package made it.
	ErrForeign = errors.New("not a store that this version can open")
)

// A Config says which store is to be opened, and how it works.
type Config struct {
	// Path is the database's file. It is made if it is not there; its folder has to be. Paths of
	// pictures are relative to that folder.
	Path string
	// Lease is how long a picture is kept for the rater that it was given to. 0 is ten minutes:
	// long enough to look at a picture after a telephone call, and short beside the time that a
	// study takes.
	Lease time.Duration
	// Now is the clock. nil is time.Now.
	Now func() time.Time
}

// A Store is a database of pictures and of what raters say of them. Several goroutines may use it
// at once, and so may several processes that have opened the same file.
type Store struct {
	config Config
	folder string // the database's, absolute
	pool   *sql.DB
	turn   chan struct{} // holds a value while nobody writes
	writer work
}

// Open opens the store in a file, or makes it. A store that an earlier version of this package made
// is brought up to date. A file that is something else is an error, which wraps ErrForeign, and
// stays as it is.
func Open(ctx context.Context, c Config) (*Store, error) {
	fail := func(err error) (*Store, error) {
		return nil, fmt.Errorf("feedback: %s: %w", c.Path, explain(err))
	}
	path, err := filepath.Abs(c.Path)
	if err != nil {
		return fail(err)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil {
		return fail(err)
	} else if !info.IsDir() {
		return fail(fmt.Errorf("%s is no folder", filepath.Dir(path)))
	}
	if c.Lease == 0 {
		c.Lease = 10 * time.Minute
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	pool, err := sql.Open("sqlite", source(path))
	if err != nil {
		return fail(err)
	}
	pool.SetMaxOpenConns(1 + readers)
	pool.SetMaxIdleConns(1 + readers)
	s := &Store{config: c, folder: filepath.Dir(path), pool: pool, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	if s.writer.conn, err = pool.Conn(ctx); err == nil {
		s.writer.statements = map[string]*sql.Stmt{}
		err = s.prepare(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("feedback: %s: %w", c.Path, explain(err)), s.Close())
	}
	return s, nil
}

// readers is how many read at once. More would wait for the disk, not for each other.
const readers = 4

// source is how the driver is told of a file. synchronous=FULL makes every commit wait for the
// disk, and secure_delete overwrites what is deleted with zeros.
func source(path string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // a Windows drive
	}
	pragmas := url.Values{"_pragma": {
		"busy_timeout(5000)", "synchronous(FULL)", "foreign_keys(1)", "secure_delete(1)",
	}}
	return "file://" + (&url.URL{Path: path}).EscapedPath() + "?" + pragmas.Encode()
}

// prepare checks that the database is a store, or new, and brings it up to date.
func (s *Store) prepare(ctx context.Context) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	if err := s.writeAhead(ctx); err != nil {
		return err
	}
	return s.write(ctx, func(w *work) error {
		var version int
		if err := w.row(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
			return err
		}
		if version == len(migrations) {
			return nil
		}
		for _, m := range migrations[version:] {
			if _, err := w.conn.ExecContext(ctx, m); err != nil {
				return err
			}
		}
		return w.script(ctx, fmt.Sprintf(`PRAGMA user_version = %d; PRAGMA application_id = %d`,
			len(migrations), applicationID))
	})
}

// check returns an error if the database is neither a store nor empty.
func (s *Store) check(ctx context.Context) error {
	var id, version, tables int
	// One statement sees one moment, whoever makes the store meanwhile.
	err := s.writer.conn.QueryRowContext(ctx, `
		SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_application_id, pragma_user_version`).Scan(&id, &version, &tables)
	if err != nil {
		return err
	}
	switch {
	case id != applicationID && (id != 0 || version != 0 || tables != 0):
		return fmt.Errorf("a database of another program: %w", ErrForeign)
	case version > len(migrations):
		return fmt.Errorf("its version is %d, and the last that is known is %d: %w",
			version, len(migrations), ErrForeign)
	}
	return nil
}

// writeAhead turns the write-ahead log on. Where several processes make a store at once, all but
// one have to try again, and SQLite's own waiting does not cover that.
func (s *Store) writeAhead(ctx context.Context) error {
	for end := time.Now().Add(5 * time.Second); ; {
		var mode string
		err := s.writer.conn.QueryRowContext(ctx, `PRAGMA journal_mode = WAL`).Scan(&mode)
		switch {
		case err == nil && mode == "wal":
			return nil
		case err == nil:
			return fmt.Errorf("the file system has no write-ahead log (journal mode %s)", mode)
		case !errors.Is(explain(err), ErrBusy) || time.Now().After(end):
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Close closes the store. What was acknowledged before is on the disk already. To close it again
// does nothing.
func (s *Store) Close() error {
	<-s.turn
	defer func() { s.turn <- struct{}{} }()
	if s.writer.closed {
		return nil
	}
	s.writer.closed = true
	var errs []error
	for _, statement := range s.writer.statements {
		errs = append(errs, statement.Close())
	}
	if s.writer.conn != nil {
		errs = append(errs, s.writer.conn.Close())
	}
	if err := errors.Join(append(errs, s.pool.Close())...); err != nil {
		return fmt.Errorf("feedback: %s: %w", s.config.Path, err)
	}
	return nil
}

// now is the time in milliseconds since 1970.
func (s *Store) now() int64 { return s.config.Now().UnixMilli() }

// moment is the time of so many milliseconds since 1970, in UTC.
func moment(milliseconds int64) time.Time { return time.UnixMilli(milliseconds).UTC() }

// write runs f in a transaction that is on the disk when write returns nil, and of which nothing is
// there when it returns an error. Its errors name the store.
func (s *Store) write(ctx context.Context, f func(w *work) error) (err error) {
	select {
	case <-ctx.Done():
		return fmt.Errorf("feedback: %s: %w", s.config.Path, ctx.Err())
	case <-s.turn:
	}
	defer func() {
		s.turn <- struct{}{}
		if err != nil {
			err = fmt.Errorf("feedback: %s: %w", s.config.Path, explain(err))
		}
	}()
	w := &s.writer
	if w.closed {
		return errors.New("the store is closed")
	}
	if err := w.exec(ctx, `BEGIN IMMEDIATE`); err != nil {
		return err
	}
	end := context.WithoutCancel(ctx) // either end has a definite result
	committed := false
	defer func() {
		if !committed { // f may have panicked, and whoever recovers goes on with the store
			// SQLite may have rolled it back by itself, as it does when the disk is full. Then this
			// is an error that says nothing.
			_ = w.exec(end, `ROLLBACK`)
		}
	}()
	if err := f(w); err != nil {
		return err
	}
	err = w.exec(end, `COMMIT`)
	committed = err == nil
	return err
}

// read runs f on the store as it is at one moment, while others may write.
func (s *Store) read(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := s.pool.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err == nil {
		defer tx.Rollback()
		err = f(tx)
	}
	if err != nil {
		return fmt.Errorf("feedback: %s: %w", s.config.Path, explain(err))
	}
	return nil
}

// work is a transaction on the connection that writes. Its statements are compiled once.
type work struct {
	conn       *sql.Conn
	statements map[string]*sql.Stmt
	closed     bool
}

func (w *work) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	if s := w.statements[query]; s != nil {
		return s, nil
	}
	s, err := w.conn.PrepareContext(context.WithoutCancel(ctx), query)
	if err == nil {
		w.statements[query] = s
	}
	return s, err
}

// exec runs a statement.
func (w *work) exec(ctx context.Context, query string, args ...any) error {
	_, err := w.insert(ctx, query, args...)
	return err
}

// script runs statements that are not worth keeping.
func (w *work) script(ctx context.Context, text string) error {
	_, err := w.conn.ExecContext(ctx, text)
	return err
}

// insert runs a statement and returns the ID of the row that it inserted.
func (w *work) insert(ctx context.Context, query string, args ...any) (int64, error) {
	s, err := w.statement(ctx, query)
	if err != nil {
		return 0, err
	}
	result, err := s.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
}

// row runs a query for one row.
func (w *work) row(ctx context.Context, query string, args ...any) scanner {
	s, err := w.statement(ctx, query)
	if err != nil {
		return failed{err}
	}
	return s.QueryRowContext(ctx, args...)
}

// rows runs a query and calls scan for each row.
func (w *work) rows(
	ctx context.Context, scan func(scanner) error, query string, args ...any,
) error {
	s, err := w.statement(ctx, query)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(ctx, args...)
	return each(rows, err, scan)
}

// each calls scan for each of the rows that a query returned.
func each(rows *sql.Rows, err error, scan func(scanner) error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// paged yields the rows of a query, a batch at a time, each batch from after the ID of the last
// row.
func paged[T any](
	ctx context.Context, s *Store, query string, scan func(scanner) (T, int64, error),
) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for after := int64(0); ; {
			var page []T
			err := s.read(ctx, func(tx *sql.Tx) error {
				rows, err := tx.QueryContext(ctx, query, after, batch)
				return each(rows, err, func(row scanner) error {
					t, id, err := scan(row)
					page, after = append(page, t), id
					return err
				})
			})
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, t := range page {
				if !yield(t, nil) {
					return
				}
			}
			if len(page) < batch {
				return
			}
		}
	}
}

// A scanner is a row, as database/sql has it.
type scanner interface{ Scan(to ...any) error }

// failed is the row of a query that cannot be run.
type failed struct{ err error }

func (f failed) Scan(...any) error { return f.err }

// known makes ErrUnknown of an error that says that there is no such row.
func known(err error, what, name string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s %q: %w", what, name, ErrUnknown)
	}
	return err
}

// Results of SQLite (sqlite.org/rescode.html). The last byte of a longer result is one of them.
const (
	sqliteBusy   = 5
	sqliteFull   = 13
	sqliteNotADB = 26
)

// explain wraps an error of SQLite's in the one of this package that it amounts to.
func explain(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case sqliteBusy:
		return fmt.Errorf("%w (%w)", ErrBusy, err)
	case sqliteFull:
		return fmt.Errorf("%w (%w)", ErrFull, err)
	case sqliteNotADB:
		return fmt.Errorf("%w (%w)", ErrForeign, err)
	}
	return err
}
