package command

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// A Server is how a program serves pages, as its flags -addr, -cert, -key and -insecure have it.
// It keeps to this machine unless it is told how others are kept from reading along.
//
//	var s command.Server
//	s.Flags(f)
//	…
//	listener, err := s.Listen()
//	if err != nil {
//		return err
//	}
//	fmt.Println("open", s.URL(listener))
//	return s.Serve(ctx, listener, handler)
type Server struct {
	Addr      string // host:port
	Cert, Key string // PEM files of a certificate for TLS and of its key; both or none
	Insecure  bool   // other machines may come without TLS
}

// Flags adds the flags to f.
func (s *Server) Flags(f *flag.FlagSet) {
	f.StringVar(&s.Addr, "addr", "127.0.0.1:8080", "`host:port` to serve the pages at; one that "+
		"other machines reach needs -cert and -key, or -insecure")
	f.StringVar(&s.Cert, "cert", "", "`file` of the certificate for TLS, PEM, with those that "+
		"signed it")
	f.StringVar(&s.Key, "key", "", "`file` of the certificate's key, PEM")
	f.BoolVar(&s.Insecure, "insecure", false, "let other machines come without TLS: whoever is on "+
		"the way reads pictures, answers and tokens, and can answer in a rater's name")
}

// Listen opens the address. It is an error if other machines reach it without TLS and Insecure does
// not allow that, or if the certificate cannot be used.
func (s *Server) Listen() (net.Listener, error) {
	if (s.Cert == "") != (s.Key == "") {
		return nil, errors.New("-cert and -key need each other")
	}
	if _, err := net.ResolveTCPAddr("tcp", s.Addr); err != nil {
		return nil, fmt.Errorf("-addr: %w", err)
	}
	if !s.Local() && s.Cert == "" && !s.Insecure {
		return nil, fmt.Errorf("-addr %s is reached by other machines, so it needs -cert and "+
			"-key for TLS; with -insecure whoever is on the way reads pictures, answers and "+
			"tokens, and can answer in a rater's name", s.Addr)
	}
	var config *tls.Config
	if s.Cert != "" {
		pair, err := tls.LoadX509KeyPair(s.Cert, s.Key)
		if err != nil {
			return nil, fmt.Errorf("-cert, -key: %w", err)
		}
		config = &tls.Config{
			Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"},
		}
	}
	listener, err := net.Listen("tcp", s.Addr)
	if err != nil {
		return nil, fmt.Errorf("-addr: %w", err)
	}
	if !s.Local() && s.Cert == "" {
		fmt.Fprintln(os.Stderr, "without TLS, whoever is on the way reads pictures, answers and "+
			"tokens, and can answer in a rater's name")
	}
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	return listener, nil
}

// Local reports whether the address is one that no other machine reaches.
func (s *Server) Local() bool {
	addr, err := net.ResolveTCPAddr("tcp", s.Addr)
	return err == nil && addr.IP.IsLoopback()
}

// URL is where a listener of Listen is found, without a slash at its end.
func (s *Server) URL(l net.Listener) string {
	scheme := "http"
	if s.Cert != "" {
		scheme = "https"
	}
	host, _, _ := net.SplitHostPort(s.Addr)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return scheme + "://" + net.JoinHostPort(host, port)
}

// How long a client may take. A request is small and comes whole; an answer may be a picture over a
// slow line. So connections that are held open for nothing end.
const (
	headerTime = 5 * time.Second
	readTime   = 30 * time.Second
	writeTime  = 5 * time.Minute
	idleTime   = 2 * time.Minute
	closeTime  = 3 * time.Second
	maxHeader  = 16 << 10
)

// Serve answers requests until ctx ends, and then those that are under way. That ctx has ended is
// no error.
func (s *Server) Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	return serve(ctx, l, bounded(h))
}

// bounded is a server of which no client can hold on to a connection for nothing.
func bounded(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerTime, ReadTimeout: readTime,
		WriteTimeout: writeTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
	}
}

func serve(ctx context.Context, l net.Listener, server *http.Server) error {
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		err := server.Shutdown(within)
		if errors.Is(err, context.DeadlineExceeded) {
			err = server.Close() // who still reads a picture is cut off
		}
		stopped <- err
	})
	err := server.Serve(l)
	if !errors.Is(err, http.ErrServerClosed) {
		stop()
		return err
	}
	return <-stopped
}
