package feedback

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// A Rater is someone who judges pictures, or a program that does.
type Rater struct {
	Name   string
	Added  time.Time
	Erased time.Time // zero for one that was not
}

// erasedName begins the names that erased raters have instead of theirs.
const erasedName = "erased-"

// AddRater adds a rater, or finds the one of that name. A name has at least one character other
// than space, and does not begin with "erased-", which is for raters that were erased.
func (s *Store) AddRater(ctx context.Context, name string) (r Rater, err error) {
	err = s.write(ctx, func(w *work) error {
		id, err := w.rater(ctx, name, s.now())
		if err != nil {
			return err
		}
		var added int64
		err = w.row(ctx, `SELECT added FROM raters WHERE id = ?`, id).Scan(&added)
		r = Rater{Name: name, Added: moment(added)}
		return err
	})
	return r, err
}

// rater returns the ID of the rater of a name, who is added if need be.
func (w *work) rater(ctx context.Context, name string, now int64) (id int64, err error) {
	if strings.TrimSpace(name) == "" {
		return 0, errors.New("a rater has no name")
	}
	if !utf8.ValidString(name) {
		return 0, fmt.Errorf("a rater's name is not UTF-8: %+q", name)
	}
	id, err = w.raterID(ctx, name)
	if !errors.Is(err, ErrUnknown) {
		return id, err
	}
	if strings.HasPrefix(name, erasedName) {
		return 0, fmt.Errorf("a rater's name begins with %q: %q", erasedName, name)
	}
	return w.insert(ctx, `INSERT INTO raters (name, added) VALUES (?, ?)`, name, now)
}

// raterID returns the ID of the row of a rater.
func (w *work) raterID(ctx context.Context, name string) (id int64, err error) {
	err = w.row(ctx, `SELECT id FROM raters WHERE name = ?`, name).Scan(&id)
	return id, known(err, "rater", name)
}

// NewToken makes a token by which a rater proves who they are, as a link to a page may carry it.
// One that the rater had before is no longer valid. The token has 26 characters, capital letters
// and digits, and 130 bits of randomness. The store keeps its SHA-256 alone: who reads the database
// learns no token, and of so many bits nobody can try all. An unknown rater is an error that wraps
// ErrUnknown.
func (s *Store) NewToken(ctx context.Context, rater string) (token string, err error) {
	token = rand.Text()
	hash := sha256.Sum256([]byte(token))
	err = s.write(ctx, func(w *work) error {
		id, err := w.raterID(ctx, rater)
		if err != nil {
			return err
		}
		return w.exec(ctx, `UPDATE raters SET token = ? WHERE id = ?`, hash[:], id)
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// HasToken reports whether a rater has a token that is valid. Someone who is not there has none.
func (s *Store) HasToken(ctx context.Context, rater string) (has bool, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `
			SELECT EXISTS (SELECT 1 FROM raters WHERE name = ? AND token IS NOT NULL)`, rater).
			Scan(&has)
	})
	return has, err
}

// RaterOf returns the rater whom a token was made for. A token that is not valid is an error that
// wraps ErrUnknown and does not say the token.
func (s *Store) RaterOf(ctx context.Context, token string) (r Rater, err error) {
	hash := sha256.Sum256([]byte(token))
	err = s.read(ctx, func(tx *sql.Tx) error {
		row := tx.QueryRowContext(ctx,
			`SELECT name, added, erased FROM raters WHERE token = ?`, hash[:])
		r, err = scanRater(row)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("the token: %w", ErrUnknown)
		}
		return err
	})
	return r, err
}

// Raters returns all raters, in the order in which they were added.
func (s *Store) Raters(ctx context.Context) (all []Rater, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT name, added, erased FROM raters ORDER BY id`)
		return each(rows, err, func(row scanner) error {
			r, err := scanRater(row)
			all = append(all, r)
			return err
		})
	})
	return all, err
}

func scanRater(row scanner) (r Rater, err error) {
	var added int64
	var erased sql.NullInt64
	err = row.Scan(&r.Name, &added, &erased)
	r.Added = moment(added)
	if erased.Valid {
		r.Erased = moment(erased.Int64)
	}
	return r, err
}
