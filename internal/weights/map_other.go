//go:build !unix

package weights

import "os"

// mapFile reads a file whole.
func mapFile(name string) (data []byte, closer func() error, err error) {
	data, err = os.ReadFile(name)
	return data, func() error { return nil }, err
}
