package picture

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var hunt = flag.String("hunt", filepath.Join("testdata", "hunt.jsonl"),
	"file of TestHunt, which hunt_picture.py wrote")

// TestHunt reads random pictures of all formats and modes as Pillow reads them, but for the
// differences that Read names. Few small ones are in testdata. Seeds 1 to 12, with up to 6,000
// pictures each, were tried too:
//
//	python internal/golden/hunt_picture.py /tmp/hunt.jsonl 6000 12
//	go test -run TestHunt -v ./internal/picture -hunt /tmp/hunt.jsonl
func TestHunt(t *testing.T) {
	f, err := os.Open(*hunt)
	require.NoError(t, err)
	defer f.Close()
	counts := map[string]int{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var c struct {
			Name, Kind, Error string
			Data, Pixels      []byte
			Width, Height     int
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &c))
		img, err := Decode(bytes.NewReader(c.Data), c.Name)
		if err != nil {
			require.Contains(t, err.Error(), c.Name)
		}
		switch {
		case err != nil && c.Error != "":
			counts["refused by both"]++
		case err != nil && (strings.Contains(err.Error(), "which is not read") ||
			strings.HasSuffix(c.Kind, " cut")):
			counts["refused by name"]++
		case err != nil:
			t.Errorf("%s (%s): Pillow reads it: %v", c.Name, c.Kind, err)
		case c.Error != "":
			t.Errorf("%s (%s) is read, and Pillow says %s", c.Name, c.Kind, c.Error)
		default:
			got := FromImage(img)
			if got.W != c.Width || got.H != c.Height {
				t.Errorf("%s (%s) is %d×%d, Pillow's %d×%d", c.Name, c.Kind, got.W, got.H,
					c.Width, c.Height)
				continue
			}
			tolerance := 0
			if strings.Contains(strings.ToLower(c.Kind), "jpeg") ||
				strings.Contains(strings.ToLower(c.Kind), "webp") {
				tolerance = 3
			}
			d := farthest(t, &RGB{c.Width, c.Height, c.Pixels}, got)
			if d > tolerance {
				t.Errorf("%s (%s) differs by %d", c.Name, c.Kind, d)
			}
			counts["the same"]++
		}
	}
	require.NoError(t, lines.Err())
	t.Log(counts)
	require.Positive(t, counts["the same"])
	require.Positive(t, counts["refused by both"])
	require.Positive(t, counts["refused by name"])
}
