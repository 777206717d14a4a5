package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/reward/label"
)

// The disk is full. The page goes on, says why answers wait, and sends them when there is room.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip("this user may not mount a small disk: ", err)
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	store := picturesIn(t, dir, 12, prompts...)
	pages, err := label.New(label.Config{Store: store})
	require.NoError(t, err)
	defer pages.Close()
	b := newTab(t, window(1000, 700))
	enter(t, b, store, serve(t, pages), "anna")
	const network = `document.getElementById("network").textContent`
	var all []pressing
	judge := func(key, as string) {
		b.until(shownNow)
		id := b.text(now)
		b.press(key)
		b.until(now + " !== " + fmt.Sprintf("%q", id))
		all = append(all, pressing{id, as})
	}
	judge("a", "good")
	b.until(network + ` === "All is kept."`)

	ballast := filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	require.NoError(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, f.Close())
	judge("x", "bad")
	last := all[len(all)-1].Picture
	b.press(kb.Backspace)
	b.until(now + " === " + fmt.Sprintf("%q", last))
	all = append(all, pressing{last, ""})
	judge("a", "good")
	judge(" ", "skip")
	judge("x", "bad")
	b.until(network + ` ===
		"5 answers wait. The disk is full: nothing is lost, but make room."`)
	looks(b, "full-disk")
	b.run(window(1000, 700))
	assert.Equal(t, all[:1], said(t, store)["anna"], "nothing else is there")

	require.NoError(t, os.Remove(ballast))
	b.until(network + ` === "All is kept."`)
	assert.Equal(t, all, said(t, store)["anna"])
}
