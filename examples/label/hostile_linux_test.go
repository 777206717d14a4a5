package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"image"
	"image/color/palette"
	"image/jpeg"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/examples/internal/command/commandtest"
)

// blank is a picture of so many pixels that is small on the disk.
func blank(t *testing.T, width, height int) []byte {
	t.Helper()
	var out bytes.Buffer
	img := image.NewPaletted(image.Rect(0, 0, width, height), palette.WebSafe)
	require.NoError(t, (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&out, img))
	return out.Bytes()
}

// The program refuses what nobody could look at, and names all of it. It takes a picture of 100
// million pixels, and uses some bytes for each of them.
func TestHostilePictures(t *testing.T) {
	dir := folder(t, 1)
	write := func(name string, data []byte) string {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
		return name
	}
	var whole bytes.Buffer
	require.NoError(t, jpeg.Encode(&whole, image.NewGray(image.Rect(0, 0, 500, 500)), nil))
	half, small := whole.Bytes()[:whole.Len()/2], blank(t, 4, 4)
	huge := bytes.Clone(small) // says that it has 400 million pixels
	binary.BigEndian.PutUint32(huge[16:], 20_000)
	binary.BigEndian.PutUint32(huge[20:], 20_000)
	binary.BigEndian.PutUint32(huge[29:], crc32.ChecksumIEEE(huge[12:29]))
	polyglot := append(bytes.Clone(small), "<html><script>alert(1)</script></html>PK\x05\x06"+
		strings.Repeat("\x00", 18)...)
	outside := filepath.Join(t.TempDir(), "outside.png")
	require.NoError(t, os.WriteFile(outside, small, 0o644))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "link.png")))
	script := `<script>document.title = "run"</script>`
	list := func(name string, samples ...dataset.Sample) string {
		var lines strings.Builder
		for _, s := range samples { // dataset.Write would not
			line, err := json.Marshal(map[string]string{
				"id": s.ID, "prompt": s.Prompt, "file": s.File,
			})
			require.NoError(t, err)
			lines.Write(append(line, '\n'))
		}
		return filepath.Join(dir, write(name, []byte(lines.String())))
	}
	good := []dataset.Sample{
		{ID: "both", Prompt: script, File: write("both.png", polyglot)},
		{ID: "../../x", Prompt: "b", File: write("x.png", small)},
		{ID: "large", Prompt: "c", File: write("large.png", blank(t, 10_000, 10_000))},
	}
	bad := append(good[:3:3],
		dataset.Sample{ID: "huge", Prompt: "a", File: write("huge.png", huge)},
		dataset.Sample{ID: "cut", Prompt: "a", File: write("cut.jpg", half)},
		dataset.Sample{ID: "long", Prompt: strings.Repeat("a", 100<<10), File: "x.png"},
		dataset.Sample{ID: "page", Prompt: "a", File: write("page.png", polyglot[len(small):])},
		dataset.Sample{ID: "up", Prompt: "a", File: "link.png"},
	)
	refused := func(list string) (p *commandtest.Program, said string) {
		p = commandtest.Start(t, "-samples", list, "-addr", "127.0.0.1:0")
		code, _ := p.Wait()
		require.Equal(t, 1, code)
		require.NotContains(t, p.Said.String(), "Ctrl-C", "nothing is begun with them")
		return p, p.Stderr.String()
	}
	_, said := refused(list("line.jsonl",
		dataset.Sample{ID: "longer", Prompt: strings.Repeat("a", 10<<20), File: "x.png"}))
	assert.Contains(t, said, "line.jsonl:1: the line has more than 1048576 bytes")
	_, said = refused(list("line.jsonl",
		dataset.Sample{ID: "up", Prompt: "a", File: "../outside.png"}))
	assert.Contains(t, said, `line.jsonl:1: file "../outside.png" is not a path inside the folder`)
	p, said := refused(list("bad.jsonl", bad...))
	for _, want := range []string{
		"left out: 5", `"huge"`, "20000×20000 pixels", `"cut"`, `"long"`, "more than 16384",
		`"page"`, `"up"`, "escapes",
	} {
		assert.Contains(t, said, want)
	}
	assert.Less(t, len(said), 10_000)
	most := p.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10
	t.Logf("at most %d MiB were used", most)
	assert.Less(t, most, int64(400))

	s := serve(t, "-samples", list("good.jsonl", good...))
	anna := s.enter(t, "anna", "")
	for _, p := range anna.next(10) {
		assert.NotContains(t, p.Image, "..")
		answer, err := anna.Get(s.base + p.Image)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusOK, answer.StatusCode, p.ID)
		assert.Equal(t, "image/png", answer.Header.Get("Content-Type"))
		assert.Equal(t, "nosniff", answer.Header.Get("X-Content-Type-Options"))
		assert.Contains(t, answer.Header.Get("Content-Security-Policy"), "default-src 'none'")
		anna.say(p.ID, "good")
	}
	// A prompt is text of JSON, and no page is made of it.
	_, text, err := anna.do("GET", "/next?n=1&last=10", nil)
	require.NoError(t, err)
	assert.NotContains(t, string(text), "<script")
	status, _, err := anna.do("POST", "/answers", strings.Repeat("x", 10<<20))
	if err == nil { // the program may hang up before it was all sent
		assert.Equal(t, http.StatusRequestEntityTooLarge, status)
	}
	s.interrupt(t)
	all, _ := kept(t, filepath.Join(dir, "labels.db"))
	require.Len(t, all, 3)
}

// Where the disk takes nothing more, answers are refused as such, and those that were acknowledged
// stay. When there is room, what was refused is taken.
func TestNoRoom(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		// full leaves no room in a folder for the program, and returns what makes room again.
		mount func(t *testing.T, dir string)
		full  func(t *testing.T, dir string, s *served) (room func())
	}{
		{"full disk", http.StatusInsufficientStorage, mounted, ballast},
		{"limit of a file's size", http.StatusInternalServerError,
			func(*testing.T, string) {}, limited},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.mount(t, dir)
			fill(t, dir, 20)
			s := serve(t, "-images", dir)
			anna := s.enter(t, "anna", "")
			anna.say("000.png", "good")
			room := c.full(t, dir, s)
			acknowledged := 1
			id := func() string { return fmt.Sprint("answer ", acknowledged) }
			send := func() (int, string) {
				status, text, err := anna.answer(id(),
					fmt.Sprintf("%03d.png", acknowledged%20), "bad")
				require.NoError(t, err)
				return status, text
			}
			var status int
			var text string
			for acknowledged < 300 {
				if status, text = send(); status != http.StatusOK {
					break
				}
				acknowledged++
			}
			require.Equal(t, c.status, status, "%s", text)
			var answer struct{ Error string }
			require.NoError(t, json.Unmarshal([]byte(text), &answer))
			if c.status == http.StatusInsufficientStorage {
				require.Equal(t, "the disk is full: nothing is lost, but make room", answer.Error)
			}
			require.NotContains(t, text, dir)
			for range 3 { // as the page does, again and again
				status, _ = send()
				require.Equal(t, c.status, status)
			}
			var o struct{ Judged int }
			owner := s.enter(t, "owner", s.links["overview"])
			owner.get("/overview.json", &o)
			require.Equal(t, acknowledged, o.Judged, "reading goes on")
			room()
			status, text = send()
			require.Equal(t, http.StatusOK, status, text)
			acknowledged++
			s.interrupt(t)
			require.Contains(t, s.Stderr.String(), dir, "the log says where")
			all, _ := kept(t, filepath.Join(dir, "labels.db"))
			require.Len(t, all, acknowledged)
			t.Logf("%d were acknowledged", acknowledged)
		})
	}
}

// mounted makes a folder a small disk of its own.
func mounted(t *testing.T, dir string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip("this user may not mount a small disk: ", err)
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
}

// ballast fills a disk.
func ballast(t *testing.T, dir string, _ *served) (room func()) {
	t.Helper()
	name := filepath.Join(dir, "ballast")
	f, err := os.Create(name)
	require.NoError(t, err)
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	return func() { require.NoError(t, os.Remove(name)) }
}

// limited lets no file of the program's grow beyond the log of today.
func limited(t *testing.T, dir string, s *served) (room func()) {
	t.Helper()
	log, err := os.Stat(filepath.Join(dir, "labels.db-wal"))
	require.NoError(t, err)
	var before unix.Rlimit
	limit := unix.Rlimit{Cur: uint64(log.Size()) + 40_000}
	require.NoError(t, unix.Prlimit(s.Process.Pid, unix.RLIMIT_FSIZE, nil, &before))
	limit.Max = before.Max
	require.NoError(t, unix.Prlimit(s.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil))
	return func() {
		require.NoError(t, unix.Prlimit(s.Process.Pid, unix.RLIMIT_FSIZE, &before, nil))
	}
}
