package picture

import (
	"bufio"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var hunt = flag.String("hunt", "", "folder of TestHunt, which hunt_picture.py wrote")

// TestHunt reads random pictures of all formats and modes as Pillow reads them, but for the
// differences that Read names:
//
//	python internal/golden/hunt_picture.py /tmp/hunt 500 1
//	go test -run TestHunt -v ./internal/picture -hunt /tmp/hunt
func TestHunt(t *testing.T) {
	if *hunt == "" {
		t.Skip("without -hunt")
	}
	f, err := os.Open(filepath.Join(*hunt, "cases.jsonl"))
	require.NoError(t, err)
	defer f.Close()
	counts := map[string]int{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var c struct {
			File, Kind, Error string
			Width, Height     int
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &c))
		img, err := Read(filepath.Join(*hunt, c.File))
		if err != nil {
			require.Contains(t, err.Error(), c.File)
		}
		switch {
		case err != nil && c.Error != "":
			counts["refused by both"]++
		case err != nil && (strings.Contains(err.Error(), "which is not read") ||
			strings.HasSuffix(c.Kind, " cut")):
			counts["refused by name"]++
		case err != nil:
			t.Errorf("%s (%s): Pillow reads it: %v", c.File, c.Kind, err)
		case c.Error != "":
			t.Errorf("%s (%s) is read, and Pillow says %s", c.File, c.Kind, c.Error)
		default:
			pix, err := os.ReadFile(filepath.Join(*hunt, c.File+".rgb"))
			require.NoError(t, err)
			got := FromImage(img)
			if got.W != c.Width || got.H != c.Height {
				t.Errorf("%s (%s) is %d×%d, Pillow's %d×%d", c.File, c.Kind, got.W, got.H,
					c.Width, c.Height)
				continue
			}
			tolerance := 0
			if strings.Contains(strings.ToLower(c.Kind), "jpeg") ||
				strings.Contains(strings.ToLower(c.Kind), "webp") {
				tolerance = 3
			}
			d := farthest(t, &RGB{c.Width, c.Height, pix}, got)
			if d > tolerance {
				t.Errorf("%s (%s) differs by %d", c.File, c.Kind, d)
			}
			counts["the same"]++
		}
	}
	t.Log(counts)
}
