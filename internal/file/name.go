package file

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// device is a name of a device on Windows, whatever follows it after a dot.
var device = regexp.MustCompile(`(?i)^(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³]) *(\.|$)`)

// CheckName says why a name cannot be a file's, on whatever system: a run folder moves from one to
// another. The rules are Windows', which has the most
// (learn.microsoft.com/windows/win32/fileio/naming-a-file), and the 255 bytes of Linux.
func CheckName(name string) error {
	bad := strings.IndexFunc(name, func(r rune) bool {
		return r < ' ' || r == 0x7f || strings.ContainsRune(`<>:"/\|?*`, r)
	})
	switch {
	case name == "":
		return errors.New("no file can have an empty name")
	case len(name) > 255:
		return fmt.Errorf("a file's name has 255 bytes at most, and %.20q… has %d", name, len(name))
	case bad >= 0:
		return fmt.Errorf("%q cannot be a file's name: Windows has no %q in names", name,
			[]rune(name[bad:])[0])
	case device.MatchString(name):
		return fmt.Errorf("%q cannot be a file's name: on Windows it is a device", name)
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		return fmt.Errorf("%q cannot be a file's name: on Windows none ends in a dot or a space",
			name)
	}
	return nil
}
