package feedback

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/picture"
	"github.com/stretchr/testify/require"
)

// clock is a clock that a test moves. It begins at a time with a fraction of a millisecond, which
// the store does not keep.
type clock struct{ time time.Time }

func newClock() *clock {
	return &clock{time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.FixedZone("", 3600))}
}

func (c *clock) tell() time.Time         { return c.time }
func (c *clock) advance(d time.Duration) { c.time = c.time.Add(d) }

// testStore is a store in a folder of its own.
type testStore struct {
	*Store
	*clock
	t      testing.TB
	folder string
}

// empty is the file of an empty store. To copy it is faster than to make it.
var empty = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "labels.db")
	s, err := Open(context.Background(), Config{Path: path})
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func newStore(t testing.TB) *testStore {
	t.Helper()
	s := &testStore{clock: newClock(), t: t, folder: t.TempDir()}
	text, err := empty()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(s.folder, "labels.db"), text, 0o644))
	s.open()
	t.Cleanup(func() { s.Close() })
	return s
}

// open opens the store, again if it was closed.
func (s *testStore) open() {
	s.t.Helper()
	var err error
	path := filepath.Join(s.folder, "labels.db")
	s.Store, err = Open(context.Background(), Config{Path: path, Now: s.tell})
	require.NoError(s.t, err)
}

// hasty makes the store faster, and no longer safe from a machine that fails.
func (s *testStore) hasty() {
	s.t.Helper()
	_, err := s.writer.conn.ExecContext(context.Background(), `PRAGMA synchronous = OFF`)
	require.NoError(s.t, err)
}

// pngOf is a small picture, another one for each note.
func pngOf(note string) []byte {
	var b bytes.Buffer
	img := image.NewGray(image.Rect(0, 0, 2, 2))
	if err := picture.EncodePNG(&b, img, picture.Text{Key: "note", Value: note}); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// pictures are samples with files in the folder: so many of each prompt. Their IDs are p0, p1, ….
func (s *testStore) pictures(each int, prompts ...string) (samples []dataset.Sample) {
	s.t.Helper()
	require.NoError(s.t, os.MkdirAll(filepath.Join(s.folder, "images"), 0o755))
	for i := range each {
		for _, p := range prompts {
			n := len(samples)
			sample := dataset.Sample{
				ID: fmt.Sprintf("p%d", n), Prompt: p, File: fmt.Sprintf("images/%d.png", n),
				Source: dataset.Source{Model: "tiny", Seed: 1<<64 - 1, Index: uint64(i)},
			}
			name := filepath.Join(s.folder, filepath.FromSlash(sample.File))
			require.NoError(s.t, os.WriteFile(name, pngOf(sample.ID), 0o644))
			samples = append(samples, sample)
		}
	}
	return samples
}

// add adds such pictures.
func (s *testStore) add(each int, prompts ...string) []dataset.Sample {
	s.t.Helper()
	samples := s.pictures(each, prompts...)
	n, err := s.Add(s.t.Context(), dataset.FromSlice(samples), "")
	require.NoError(s.t, err)
	require.Equal(s.t, len(samples), n)
	return samples
}

// raters adds raters.
func (s *testStore) raters(names ...string) {
	s.t.Helper()
	for _, name := range names {
		_, err := s.AddRater(s.t.Context(), name)
		require.NoError(s.t, err)
	}
}

// say judges a picture.
func (s *testStore) say(answer, rater, picture string, label dataset.Label) Judgement {
	s.t.Helper()
	j, err := s.Judge(s.t.Context(), Judgement{
		Answer: answer, Rater: rater, Picture: picture, Label: label,
	})
	require.NoError(s.t, err)
	return j
}

// collect returns all samples of a dataset.
func (s *testStore) collect(d dataset.Dataset) []dataset.Sample {
	s.t.Helper()
	samples, err := dataset.Collect(s.t.Context(), d)
	require.NoError(s.t, err)
	return samples
}

// all returns all judgements that were ever made.
func (s *testStore) all() (all []Judgement) {
	s.t.Helper()
	for j, err := range s.Judgements(s.t.Context()) {
		require.NoError(s.t, err)
		all = append(all, j)
	}
	return all
}

func TestPicturesComeBackAsTheyWere(t *testing.T) {
	s := newStore(t)
	samples := s.pictures(2, `two <green> dogs & "a" cat`, "ein Hund für Ünal")
	reward := 0.25
	samples[0].Label, samples[0].Reward = dataset.Good, &reward
	samples[1].Judgements, samples[1].Good, samples[1].Label = 4, 0.5, dataset.Skip
	samples[2].Source.Rater, samples[2].Group = "anna", "set 1"
	samples = append(samples, dataset.Sample{ID: "text", Prompt: "no picture"})
	n, err := s.Add(t.Context(), dataset.FromSlice(samples), "")
	require.NoError(t, err)
	require.Equal(t, 5, n)
	require.Equal(t, samples, s.collect(s.Pictures()))
	require.Equal(t, samples, s.collect(s), "nobody has judged")

	// Files of the samples, into a store and out of it, are the same to the byte.
	in, out := filepath.Join(t.TempDir(), "in.jsonl"), filepath.Join(t.TempDir(), "out.jsonl")
	_, err = dataset.Write(t.Context(), in, dataset.FromSlice(samples))
	require.NoError(t, err)
	_, err = dataset.Write(t.Context(), out, s.Pictures())
	require.NoError(t, err)
	a, err := os.ReadFile(in)
	require.NoError(t, err)
	b, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, string(a), string(b))

	one, err := s.Picture(t.Context(), "p2")
	require.NoError(t, err)
	require.Equal(t, samples[2], one)
	_, err = s.Picture(t.Context(), "nothing")
	require.ErrorIs(t, err, ErrUnknown)
	require.ErrorContains(t, err, `picture "nothing": not in the store`)

	// A label that it came with gives way to what raters say, and so does who gave it.
	s.raters("ben")
	s.say("", "ben", "p2", dataset.Bad)
	judged := s.collect(s)[2]
	require.Equal(t, dataset.Bad, judged.Label)
	require.Empty(t, judged.Source.Rater)
	require.Equal(t, "tiny", judged.Source.Model)
}

func TestAddAgain(t *testing.T) {
	s := newStore(t)
	samples := s.add(1, "a dog", "a cat")
	n, err := s.Add(t.Context(), dataset.FromSlice(samples), "")
	require.NoError(t, err)
	require.Zero(t, n, "they are there")

	other := []dataset.Sample{samples[0]}
	other[0].Prompt = "a wolf"
	_, err = s.Add(t.Context(), dataset.FromSlice(other), "")
	require.ErrorIs(t, err, ErrConflict, "another prompt")
	require.NoError(t, os.WriteFile(filepath.Join(s.folder, "images/1.png"), pngOf("x"), 0o644))
	_, err = s.Add(t.Context(), dataset.FromSlice(samples), "")
	require.ErrorIs(t, err, ErrConflict, "another picture")
	require.ErrorContains(t, err, `"p1"`)

	_, err = s.Add(t.Context(), dataset.FromSlice([]dataset.Sample{{Prompt: "a dog"}}), "")
	require.ErrorContains(t, err, "no ID")
	gone := []dataset.Sample{{ID: "gone", Prompt: "a dog", File: "images/gone.png"}}
	_, err = s.Add(t.Context(), dataset.FromSlice(gone), "")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Len(t, s.collect(s.Pictures()), 2)
}

func TestAddFromAnotherFolder(t *testing.T) {
	s := newStore(t)
	folder := filepath.Join(s.folder, "runs", "1")
	require.NoError(t, os.MkdirAll(folder, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "a.png"), pngOf("a"), 0o644))
	samples := dataset.FromSlice([]dataset.Sample{{ID: "a", Prompt: "a dog", File: "a.png"}})
	_, err := s.Add(t.Context(), samples, folder)
	require.NoError(t, err)
	require.Equal(t, "runs/1/a.png", s.collect(s)[0].File)
	_, err = s.Add(t.Context(), samples, filepath.Dir(s.folder))
	require.ErrorContains(t, err, "not inside the database's")
}

// An answer is there for good, and the one that corrects it counts.
func TestJudgementsAreCorrectedNotOverwritten(t *testing.T) {
	s := newStore(t)
	samples := s.add(1, "a dog", "a cat", "a wolf")
	s.raters("anna", "ben")
	first, err := s.Judge(t.Context(), Judgement{
		Answer: "1", Rater: "anna", Picture: "p0", Label: dataset.Good,
		Reason: " it is green ", Taken: 1234567 * time.Microsecond,
	})
	require.NoError(t, err)
	want := Judgement{
		Answer: "1", Rater: "anna", Picture: "p0", Label: dataset.Good, Reason: "it is green",
		Taken: 1234 * time.Millisecond, At: time.Date(2026, 1, 2, 2, 4, 5, 678_000_000, time.UTC),
	}
	require.Equal(t, want, first)
	s.advance(time.Second)
	second := s.say("2", "anna", "p0", dataset.Bad)
	require.Equal(t, "1", second.Supersedes)
	third := s.say("3", "ben", "p0", dataset.Good)
	require.Empty(t, third.Supersedes)
	fourth := s.say("4", "anna", "p1", dataset.Skip)
	require.Equal(t, []Judgement{first, second, third, fourth}, s.all())

	labelled := append([]dataset.Sample{}, samples...)
	labelled[0].Label, labelled[0].Judgements, labelled[0].Good = dataset.Skip, 2, 0.5
	labelled[1].Label = dataset.Skip
	require.Equal(t, labelled, s.collect(s))

	raw := s.collect(s.Raw())
	require.Len(t, raw, 3)
	require.Equal(t, "2", raw[0].ID)
	require.Equal(t, "p0", raw[0].Group)
	require.Equal(t, "anna", raw[0].Source.Rater)
	require.Equal(t, dataset.Bad, raw[0].Label)
	require.Equal(t, 1, raw[0].Judgements)
	require.Zero(t, raw[0].Good)
	require.Equal(t, 1.0, raw[1].Good)
	require.Equal(t, dataset.Skip, raw[2].Label)
	require.Zero(t, raw[2].Judgements)

	// Taken back, and said again.
	back := s.say("5", "anna", "p0", dataset.Unlabelled)
	require.Equal(t, "2", back.Supersedes)
	require.Equal(t, 1.0, s.collect(s)[0].Good, "ben's is left")
	_, err = s.Judge(t.Context(), Judgement{Rater: "anna", Picture: "p0"})
	require.ErrorIs(t, err, ErrUnknown, "there is nothing to take back")
	require.Equal(t, "5", s.say("6", "anna", "p0", dataset.Good).Supersedes)

	_, err = s.writer.conn.ExecContext(t.Context(), `UPDATE answers SET choice = 1`)
	require.ErrorContains(t, err, "never changed")
	_, err = s.writer.conn.ExecContext(t.Context(), `DELETE FROM answers`)
	require.ErrorContains(t, err, "never removed")
}

func TestAnswersAreIdempotent(t *testing.T) {
	s := newStore(t)
	s.add(1, "a dog", "a cat")
	s.raters("anna", "ben")
	first := s.say("1", "anna", "p0", dataset.Good)
	s.advance(time.Minute)
	require.Equal(t, first, s.say("1", "anna", "p0", dataset.Good))
	s.say("2", "anna", "p0", dataset.Bad)
	require.Equal(t, first, s.say("1", "anna", "p0", dataset.Good), "late, and again")
	require.Len(t, s.all(), 2)
	require.Equal(t, dataset.Bad, s.collect(s)[0].Label)
	for _, other := range []Judgement{
		{Answer: "1", Rater: "anna", Picture: "p0", Label: dataset.Bad},
		{Answer: "1", Rater: "anna", Picture: "p1", Label: dataset.Good},
		{Answer: "1", Rater: "ben", Picture: "p0", Label: dataset.Good},
	} {
		_, err := s.Judge(t.Context(), other)
		require.ErrorIs(t, err, ErrConflict)
	}
	for _, wrong := range []Judgement{
		{Rater: "nobody", Picture: "p0", Label: dataset.Good},
		{Rater: "anna", Picture: "nothing", Label: dataset.Good},
	} {
		_, err := s.Judge(t.Context(), wrong)
		require.ErrorIs(t, err, ErrUnknown)
	}
	_, err := s.Judge(t.Context(), Judgement{Rater: "anna", Picture: "p0", Label: 9})
	require.ErrorContains(t, err, "Label(9)")
	_, err = s.Judge(t.Context(), Judgement{
		Rater: "anna", Picture: "p0", Label: dataset.Good, Taken: -1,
	})
	require.ErrorContains(t, err, "took -1ns")
	require.Len(t, s.all(), 2)
	made := s.say("", "ben", "p0", dataset.Good)
	require.Len(t, made.Answer, 26, "the store makes an ID")
}

func TestRatersAndTokens(t *testing.T) {
	s := newStore(t)
	anna, err := s.AddRater(t.Context(), "anna")
	require.NoError(t, err)
	s.advance(time.Hour)
	again, err := s.AddRater(t.Context(), "anna")
	require.NoError(t, err)
	require.Equal(t, anna, again)
	for _, name := range []string{"", " ", "erased-1", "caf\xe9"} {
		_, err := s.AddRater(t.Context(), name)
		require.Error(t, err, name)
	}

	has := func(rater string, want bool) {
		t.Helper()
		has, err := s.HasToken(t.Context(), rater)
		require.NoError(t, err)
		require.Equal(t, want, has)
	}
	has("anna", false)
	old, err := s.NewToken(t.Context(), "anna")
	require.NoError(t, err)
	require.Len(t, old, 26)
	has("anna", true)
	has("ben", false)
	r, err := s.RaterOf(t.Context(), old)
	require.NoError(t, err)
	require.Equal(t, anna, r)
	token, err := s.NewToken(t.Context(), "anna")
	require.NoError(t, err)
	_, err = s.RaterOf(t.Context(), old)
	require.ErrorIs(t, err, ErrUnknown)
	require.NotContains(t, err.Error(), old)
	_, err = s.NewToken(t.Context(), "ben")
	require.ErrorIs(t, err, ErrUnknown)
	require.NoError(t, s.Close())
	text, err := os.ReadFile(filepath.Join(s.folder, "labels.db"))
	require.NoError(t, err)
	require.NotContains(t, string(text), token)
	require.Contains(t, string(text), "anna")
	s.open()
	all, err := s.Raters(t.Context())
	require.NoError(t, err)
	require.Equal(t, []Rater{anna}, all)
}

func TestOpen(t *testing.T) {
	ctx := t.Context()
	t.Run("odd names", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "50% of #1 & more + ü.db")
		s, err := Open(ctx, Config{Path: path})
		require.NoError(t, err)
		_, err = s.AddRater(ctx, "anna")
		require.NoError(t, err)
		require.NoError(t, s.Close())
		require.FileExists(t, path)
	})
	t.Run("no folder", func(t *testing.T) {
		_, err := Open(ctx, Config{Path: filepath.Join(t.TempDir(), "none", "x.db")})
		require.ErrorIs(t, err, os.ErrNotExist)
	})
	t.Run("text", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.db")
		text := []byte("This is a text, and not a database of any kind at all.")
		require.NoError(t, os.WriteFile(path, text, 0o644))
		_, err := Open(ctx, Config{Path: path})
		require.ErrorIs(t, err, ErrForeign)
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, text, after)
	})
	t.Run("another program's", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.db")
		db, err := sql.Open("sqlite", source(path))
		require.NoError(t, err)
		_, err = db.Exec(`CREATE TABLE a (b)`)
		require.NoError(t, err)
		require.NoError(t, db.Close())
		before, err := os.ReadFile(path)
		require.NoError(t, err)
		_, err = Open(ctx, Config{Path: path})
		require.ErrorIs(t, err, ErrForeign)
		require.ErrorContains(t, err, "another program")
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, before, after)
	})
	t.Run("a later version's", func(t *testing.T) {
		s := newStore(t)
		_, err := s.writer.conn.ExecContext(ctx, `PRAGMA user_version = 99`)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		_, err = Open(ctx, Config{Path: s.config.Path})
		require.ErrorIs(t, err, ErrForeign)
		require.ErrorContains(t, err, "its version is 99")
	})
	t.Run("a migration that failed", func(t *testing.T) {
		defer func(m []string) { migrations = m }(migrations)
		s := newStore(t)
		s.raters("anna")
		require.NoError(t, s.Close())
		good := migrations
		const twice = `CREATE TABLE new (x); CREATE TABLE new (x)`
		migrations = append(good[:len(good):len(good)], twice)
		_, err := Open(ctx, s.config)
		require.ErrorContains(t, err, "already exists")
		migrations = append(good[:len(good):len(good)], `CREATE TABLE new (x)`)
		s.open()
		all, err := s.Raters(ctx)
		require.NoError(t, err)
		require.Len(t, all, 1)
		var n int
		require.NoError(t, s.pool.QueryRow(`SELECT count(*) FROM new`).Scan(&n))
	})
	t.Run("settings", func(t *testing.T) {
		s := newStore(t)
		for pragma, want := range map[string]string{
			"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "secure_delete": "1",
			"busy_timeout": "5000", "user_version": "2",
		} {
			var got string
			row := s.writer.conn.QueryRowContext(ctx, `PRAGMA `+pragma)
			require.NoError(t, row.Scan(&got))
			require.Equal(t, want, got, pragma)
		}
	})
}

// A context that has ended ends what waits, and what it ended left nothing.
func TestContext(t *testing.T) {
	s := newStore(t)
	s.add(1, "a dog")
	s.raters("anna")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Judge(ctx, Judgement{Rater: "anna", Picture: "p0", Label: dataset.Good})
	require.ErrorIs(t, err, context.Canceled)
	_, err = dataset.Collect(ctx, s)
	require.ErrorIs(t, err, context.Canceled)
	stopped := errors.New("stopped")
	err = s.write(t.Context(), func(w *work) error {
		require.NoError(t, w.exec(t.Context(), `DELETE FROM cursors`))
		return stopped
	})
	require.ErrorIs(t, err, stopped)
	require.Empty(t, s.all())
	s.say("1", "anna", "p0", dataset.Good)
}

// A panic in the middle of a transaction, which whoever serves requests recovers from, leaves
// nothing of it, and the store goes on.
func TestPanicLeavesNothing(t *testing.T) {
	s := newStore(t)
	panics := func() {
		_ = s.write(t.Context(), func(w *work) error {
			_, err := w.rater(t.Context(), "ann", 1)
			require.NoError(t, err)
			panic("halfway")
		})
	}
	require.PanicsWithValue(t, "halfway", panics)
	_, err := s.AddRater(t.Context(), "bob")
	require.NoError(t, err)
	o, err := s.Overview(t.Context())
	require.NoError(t, err)
	require.Len(t, o.Raters, 1)
	require.Equal(t, "bob", o.Raters[0].Rater)
}

// ReadLabels has what Labels has, without those that are not labelled, and makes no file.
func TestReadLabels(t *testing.T) {
	s := newStore(t)
	samples := s.add(3, "a dog")
	s.raters("anna", "ben")
	path := filepath.Join(s.folder, "labels.db")
	_, err := ReadLabels(t.Context(), path, Majority{})
	require.ErrorIs(t, err, dataset.ErrNoLabels)
	require.ErrorContains(t, err, path)
	s.say("1", "anna", samples[1].ID, dataset.Good)
	s.say("2", "anna", samples[0].ID, dataset.Good)
	s.say("3", "ben", samples[0].ID, dataset.Bad)
	got, err := ReadLabels(t.Context(), path, Majority{})
	require.NoError(t, err)
	require.Equal(t, s.collect(s.Labels(Majority{}))[1:2], got)
	_, err = ReadLabels(t.Context(), path+"x", Majority{})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoFileExists(t, path+"x")
}
