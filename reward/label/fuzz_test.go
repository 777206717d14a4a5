package label

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/reward/internal/page"
)

// blamed holds an error to being the fault of whoever asked.
func blamed(t *testing.T, err error) {
	t.Helper()
	var wrong *page.Error
	if err != nil && (!errors.As(err, &wrong) || wrong.Status/100 != 4) {
		t.Errorf("it fails inside: %v", err)
	}
}

// FuzzAnswers sends what no page sends. It is refused, or each answer is either kept or refused.
func FuzzAnswers(f *testing.F) {
	b := newBench(f, 3, 1, nil)
	_, err := b.store.AddRater(f.Context(), "anna")
	require.NoError(f, err)
	for _, body := range []string{
		`{"answers":[{"id":"1","picture":"id/000.png","label":"good","reason":"x","taken_ms":5}]}`,
		`{"answers":[{"id":"2","picture":"id/000.png","label":""},{"id":"2","label":"bad"}]}`,
		`{"answers":[{"id":"\u0000","picture":"\ud800","label":"skip"}]}`,
		`{"answers":[{"id":"3","picture":"id/001.png","label":"bad","ago_ms":-9223372036854775}]}`,
		`{"answers":[{"id":"4","picture":"id/001.png","ago_ms":9223372036854775807}]}`,
		`{"answers":[{"picture":"id/002.png","label":"bad"}]}`,
		`{"answers":[{}]}`, `{"answers":null}`, `null`, `[]`, `{"answers":[],"answers":[{}]}`,
		`{`, ``,
	} {
		f.Add(body)
	}
	n := 0
	f.Fuzz(func(t *testing.T, body string) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/answers", strings.NewReader(body))
		err := b.pages.answers(w, r, "anna")
		blamed(t, err)
		if err != nil {
			return
		}
		var k kept
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &k))
		for _, id := range k.Done {
			require.NotEmpty(t, id)
			require.LessOrEqual(t, len(id), maxID)
		}
		if n++; n%500 == 1 {
			require.NoError(t, b.store.Check(t.Context()))
		}
	})
}

// FuzzNext asks as no page asks. It is refused, or answered with no more than was asked for.
func FuzzNext(f *testing.F) {
	b := newBench(f, 8, 2, nil)
	_, err := b.store.AddRater(f.Context(), "anna")
	require.NoError(f, err)
	for _, query := range []string{
		"n=4&last=2", "", "n=100&last=50", "n=101", "n=-1", "n=1&n=9", "last=+3", "n=%00", "n=1e2",
		"n=0x10", "n=;last=1", "last=../../x", "n=9223372036854775808", "n= 1",
	} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/next", nil)
		r.URL.RawQuery = query
		err := b.pages.next(w, r, "anna")
		blamed(t, err)
		if err != nil {
			return
		}
		var answer taken
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
		asked := r.URL.Query()
		require.LessOrEqual(t, len(answer.Next), most(t, asked, "n"))
		require.LessOrEqual(t, len(answer.Last), most(t, asked, "last"))
	})
}

// most is the number that a query asks for, as a reader of decimal numbers understands it.
func most(t *testing.T, asked url.Values, name string) (n int) {
	t.Helper()
	for _, digit := range strings.TrimLeft(asked.Get(name), "+-") {
		require.True(t, '0' <= digit && digit <= '9', "%q was taken", asked.Get(name))
		n = n*10 + int(digit-'0')
	}
	require.LessOrEqual(t, n, 100)
	return n
}

// FuzzPicture asks for pictures by what no page has. There are none, or it is one of the store's.
func FuzzPicture(f *testing.F) {
	b := newBench(f, 2, 1, nil)
	for _, id := range []string{
		"aWQvMDAwLnBuZw", "aWQvMDAwLnBuZw==", "", "..", "Li4vbGFiZWxzLmRi", "AA", "%00", "!",
		"____",
	} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/picture/x", nil)
		r.SetPathValue("id", id)
		err := b.pages.picture(w, r)
		blamed(t, err)
		if err == nil {
			require.Equal(t, "image/png", http.DetectContentType(w.Body.Bytes()))
		}
	})
}
