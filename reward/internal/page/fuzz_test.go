package page

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzEnter tries to enter by what nobody was given. A site that is not open lets nobody in. One
// that is open lets in who gives a name, and nobody as the owner.
func FuzzEnter(f *testing.F) {
	closed, store, _ := site(f, false, nil)
	open, _, _ := site(f, true, nil)
	token(f, store, "anna")
	for _, body := range []string{
		`{"token":"owner"}`, `{"token":""}`, `{"name":"anna"}`, `{"name":" \t "}`,
		`{"name":"erased-1"}`,
		`{"Token":"x","name":"y"}`, `{"token":["owner"]}`, `{"token":null,"name":"\u0000"}`, `null`,
		`{"name":"\ud800"}`, `{"token":" owner"}`, `{"more":1}`, `[`, ``,
		`{"name":"` + strings.Repeat("x", 101) + `"}`,
	} {
		f.Add(body)
	}
	n := 0
	f.Fuzz(func(t *testing.T, body string) {
		for _, s := range []*Site{closed, open} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("POST", "http://127.0.0.1/enter", strings.NewReader(body))
			n++
			r.RemoteAddr = fmt.Sprintf("192.0.2.1-%d:1", n) // nobody has to wait
			err := s.enter(w, r)
			var wrong *Error
			if err != nil && (!errors.As(err, &wrong) || wrong.Status/100 != 4) {
				t.Errorf("it fails inside: %v", err)
			}
			for _, c := range w.Result().Cookies() {
				again := httptest.NewRequest("GET", "/", nil)
				again.RemoteAddr = r.RemoteAddr
				again.AddCookie(c)
				if s == closed || c.Name != "kudos-test-rater" {
					t.Errorf("%q is let in with the cookie %s", body, c.Name)
				} else if _, err := s.rater(again); err != nil {
					t.Errorf("the cookie that was given to %q is refused: %v", body, err)
				}
			}
			if err == nil && len(w.Result().Cookies()) == 0 {
				t.Errorf("%q is let in without a cookie", body)
			}
		}
	})
}
