package command

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var connections = flag.Int("connections", 200, "slow connections that a server is held to; "+
	"with 2000 the times are the real ones")

// certificate makes a certificate of this machine's names, signed by itself.
func certificate(t *testing.T) (cert, key string, trust *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	of := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, of, of, &private.PublicKey, private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		require.NoError(t, os.WriteFile(file, text, 0o600))
		return file
	}
	trust = x509.NewCertPool()
	signed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	trust.AddCert(signed)
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", secret), trust
}

// serverOf is the one of a command line.
func serverOf(t *testing.T, args ...string) *Server {
	t.Helper()
	var s Server
	f := flag.NewFlagSet("pages", flag.ContinueOnError)
	s.Flags(f)
	require.NoError(t, f.Parse(args))
	return &s
}

func TestServerRefuses(t *testing.T) {
	cert, key, _ := certificate(t)
	other, _, _ := certificate(t)
	for _, c := range []struct {
		want string
		args []string
	}{
		{"-cert and -key need each other", []string{"-addr", "127.0.0.1:0", "-cert", cert}},
		{"-cert and -key need each other", []string{"-addr", "127.0.0.1:0", "-key", key}},
		{"-cert and -key need each other", []string{"-addr", ":0", "-insecure", "-key", key}},
		{"-addr :0 is reached by other machines, so it needs -cert", []string{"-addr", ":0"}},
		{"-addr 0.0.0.0:0 is reached", []string{"-addr", "0.0.0.0:0"}},
		{"-addr [::]:0 is reached", []string{"-addr", "[::]:0"}},
		{"-addr 192.0.2.1:0 is reached", []string{"-addr", "192.0.2.1:0"}},
		{"-addr: address 127.0.0.1: missing port", []string{"-addr", "127.0.0.1"}},
		{"-addr: ", []string{"-addr", "192.0.2.1:0", "-insecure"}},
		{"-addr: address 99999: invalid port", []string{"-addr", "127.0.0.1:99999"}},
		{"-cert, -key: open gone.pem", []string{"-addr", ":0", "-cert", "gone.pem", "-key", key}},
		{"-cert, -key: ", []string{"-addr", ":0", "-cert", key, "-key", cert}},
		{"-cert, -key: ", []string{"-addr", ":0", "-cert", other, "-key", key}},
	} {
		l, err := serverOf(t, c.args...).Listen()
		if err == nil {
			l.Close()
		}
		assert.ErrorContains(t, err, c.want, "%v", c.args)
	}
	taken, err := serverOf(t, "-addr", "127.0.0.1:0").Listen()
	require.NoError(t, err)
	defer taken.Close()
	_, err = serverOf(t, "-addr", taken.Addr().String()).Listen()
	require.ErrorContains(t, err, "-addr: ")
}

func TestServerLocal(t *testing.T) {
	assert.True(t, serverOf(t).Local(), "without a flag")
	for addr, local := range map[string]bool{
		"127.0.0.1:8080": true, "127.8.8.8:0": true, "localhost:80": true, "[::1]:80": true,
		"[::ffff:127.0.0.1]:80": true, ":80": false, "0.0.0.0:80": false, "[::]:80": false,
		"192.0.2.1:80": false, "[::ffff:192.0.2.1]:80": false, "": false, "127.0.0.1": false,
		"127.0.0.1:http:80": false, "128.0.0.1:80": false,
	} {
		s := Server{Addr: addr}
		assert.Equal(t, local, s.Local(), addr)
	}
}

// Whoever lets other machines come without TLS is told what that means, and nobody else is.
func TestServerWarns(t *testing.T) {
	said := func(args ...string) string {
		file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
		require.NoError(t, err)
		defer file.Close()
		stderr := os.Stderr
		os.Stderr = file
		l, err := serverOf(t, args...).Listen()
		os.Stderr = stderr
		require.NoError(t, err)
		require.NoError(t, l.Close())
		text, err := os.ReadFile(file.Name())
		require.NoError(t, err)
		return string(text)
	}
	cert, key, _ := certificate(t)
	assert.Contains(t, said("-addr", ":0", "-insecure"),
		"whoever is on the way reads pictures, answers and tokens, and can answer in a rater's")
	assert.Empty(t, said("-addr", "127.0.0.1:0"))
	assert.Empty(t, said("-addr", "127.0.0.1:0", "-insecure"))
	assert.Empty(t, said("-addr", ":0", "-cert", cert, "-key", key))
}

// start serves until the function that it returns is called, which returns what Serve has.
func start(t *testing.T, l net.Listener, server *http.Server) (end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, l, server) }()
	return func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(time.Minute):
			return errors.New("it does not end")
		}
	}
}

// Where a page is found is printed, and it is found there.
func TestServerURL(t *testing.T) {
	cert, key, trust := certificate(t)
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Proto, " ", r.TLS != nil)
	})
	secure := []string{"-cert", cert, "-key", key}
	for _, c := range []struct {
		host, url, says string
		more            []string
	}{
		{"127.0.0.1", "http://127.0.0.1", "HTTP/1.1 false", nil},
		{"localhost", "http://localhost", "HTTP/1.1 false", nil},
		{"[::1]", "http://[::1]", "HTTP/1.1 false", nil},
		{"", "http://localhost", "HTTP/1.1 false", []string{"-insecure"}},
		{"127.0.0.1", "https://127.0.0.1", "HTTP/2.0 true", secure},
		{"", "https://localhost", "HTTP/2.0 true", secure},
		{"0.0.0.0", "https://localhost", "HTTP/2.0 true", secure},
	} {
		s := serverOf(t, append(c.more, "-addr", c.host+":0")...)
		l, err := s.Listen()
		if c.host == "[::1]" && err != nil {
			continue // a machine without IPv6
		}
		require.NoError(t, err)
		server := bounded(hello)
		server.ErrorLog = log.New(io.Discard, "", 0)
		end := start(t, l, server)
		_, port, err := net.SplitHostPort(l.Addr().String())
		require.NoError(t, err)
		require.Equal(t, c.url+":"+port, s.URL(l))
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: trust}, ForceAttemptHTTP2: true,
		}
		answer, err := (&http.Client{Transport: transport}).Get(s.URL(l) + "/")
		require.NoError(t, err)
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		answer.Body.Close()
		require.Equal(t, c.says, string(text))
		transport.CloseIdleConnections()
		if s.Cert != "" { // who does not speak TLS gets nothing
			answer, err := http.Get(strings.Replace(s.URL(l), "https", "http", 1) + "/")
			require.NoError(t, err)
			answer.Body.Close()
			require.Equal(t, http.StatusBadRequest, answer.StatusCode)
		}
		require.NoError(t, end())
	}
}

// When the end comes, a request that is under way gets its answer, and no other one is begun. Who
// takes too long is cut off.
func TestServerEnds(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprint("late ", late), func(t *testing.T) {
			t.Parallel()
			begun, goOn := make(chan bool), make(chan bool)
			s := serverOf(t, "-addr", "127.0.0.1:0")
			l, err := s.Listen()
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				ended <- s.Serve(ctx, l, http.HandlerFunc(
					func(w http.ResponseWriter, r *http.Request) {
						begun <- true
						<-goOn
						fmt.Fprint(w, "whole")
					}))
			}()
			type answer struct {
				text string
				err  error
			}
			answered := make(chan answer, 1)
			go func() {
				got, err := http.Get(s.URL(l))
				if err != nil {
					answered <- answer{"", err}
					return
				}
				defer got.Body.Close()
				text, err := io.ReadAll(got.Body)
				answered <- answer{string(text), err}
			}()
			<-begun
			begin := time.Now()
			cancel()
			require.Eventually(t, func() bool {
				c, err := net.Dial("tcp", l.Addr().String())
				if err == nil {
					c.Close()
				}
				return err != nil
			}, 10*time.Second, time.Millisecond, "nobody else is let in")
			if late {
				require.NoError(t, <-ended)
				require.GreaterOrEqual(t, time.Since(begin), closeTime)
				require.Error(t, (<-answered).err)
				close(goOn)
				return
			}
			select {
			case err := <-ended:
				t.Fatal("it has ended before its request, with", err)
			case <-time.After(100 * time.Millisecond):
			}
			close(goOn)
			require.NoError(t, <-ended)
			require.Equal(t, answer{"whole", nil}, <-answered)
		})
	}
	// That the listener fails is an error.
	s := serverOf(t, "-addr", "127.0.0.1:0")
	l, err := s.Listen()
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.Error(t, s.Serve(t.Context(), l, http.NotFoundHandler()))
}

// Many connections that send a byte now and then keep nobody from an answer, and are dropped: those
// whose header does not come, and those whose body does not.
//
//	go test -run TestSlowConnections -v ./finetune/command -connections 2000
func TestSlowConnections(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			fmt.Fprint(w, "hello")
		}
	})
	server := bounded(handler)
	for _, bound := range []time.Duration{server.WriteTimeout, server.IdleTimeout} {
		require.Positive(t, bound)
	}
	if *connections < 2000 {
		server.ReadHeaderTimeout /= 8
		server.ReadTimeout /= 20
	}
	require.Positive(t, server.ReadHeaderTimeout)
	require.Greater(t, server.ReadTimeout, server.ReadHeaderTimeout)
	s := serverOf(t, "-addr", "127.0.0.1:0")
	l, err := s.Listen()
	require.NoError(t, err)
	end := start(t, l, server)
	slow := []struct {
		head, drop string
		within     time.Duration
	}{
		{"", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", server.ReadHeaderTimeout},
		{"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n", "0123456789",
			server.ReadTimeout},
	}
	var held, dropped atomic.Int64
	var group sync.WaitGroup
	for i := range *connections {
		kind := slow[i%2]
		group.Go(func() {
			c, err := net.Dial("tcp", l.Addr().String())
			if !assert.NoError(t, err) {
				return
			}
			defer c.Close()
			begin := time.Now()
			held.Add(1)
			defer held.Add(-1)
			if _, err := io.WriteString(c, kind.head); !assert.NoError(t, err) {
				return
			}
			for k := 0; ; k++ {
				if time.Since(begin) > kind.within+10*time.Second {
					t.Errorf("a connection is held for %v", time.Since(begin))
					return
				}
				at := k % len(kind.drop)
				if _, err := io.WriteString(c, kind.drop[at:at+1]); err != nil {
					break
				}
				// What the server says before it hangs up is read.
				c.SetReadDeadline(time.Now().Add(kind.within / 10))
				_, err := c.Read(make([]byte, 1000))
				if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					break
				}
			}
			if time.Since(begin) < kind.within*9/10 {
				t.Errorf("a connection was dropped after %v", time.Since(begin))
			}
			dropped.Add(1)
		})
	}
	require.Eventually(t, func() bool { return held.Load() == int64(*connections) },
		server.ReadHeaderTimeout, time.Millisecond)
	// Each request of the honest client is on a connection of its own.
	honest := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var took []time.Duration
	for held.Load() > int64(*connections)/4 {
		begin := time.Now()
		answer, err := honest.Get(s.URL(l))
		require.NoError(t, err)
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		answer.Body.Close()
		require.Equal(t, "hello", string(text))
		took = append(took, time.Since(begin))
		time.Sleep(2 * time.Millisecond)
	}
	group.Wait()
	require.EqualValues(t, *connections, dropped.Load())
	slices.Sort(took)
	median, p99 := took[len(took)/2], took[len(took)*99/100]
	t.Logf("%d honest requests beside %d slow connections: median %v, 99 %% %v, most %v",
		len(took), *connections, median, p99, took[len(took)-1])
	require.Less(t, p99, time.Second)
	require.NoError(t, end())
}
