package heap

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// granted is how many bytes the process may have by its control group, or one
// around it; 0: any number.
func granted() int64 {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	return grantedIn(os.DirFS("/sys/fs/cgroup"), string(text))
}

// grantedIn is granted for a process whose groups are listed as in
// /proc/PID/cgroup, with the hierarchies in tree: the one of version 2, and that
// of version 1 that counts memory. In a container the paths may be those outside
// of it: what cannot be read limits nothing, and the root is always asked.
func grantedIn(tree fs.FS, groups string) int64 {
	least := int64(0)
	for line := range strings.Lines(groups) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 {
			continue
		}
		root, file := ".", "memory.max"
		switch {
		case parts[0] == "0" && parts[1] == "":
		case strings.Contains(","+parts[1]+",", ",memory,"):
			root, file = "memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for at := path.Clean("/" + parts[2]); ; at = path.Dir(at) {
			text, err := fs.ReadFile(tree, path.Join(root, at, file))
			n, bad := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64) // version 2 says max where there is no limit
			if err == nil && bad == nil && n > 0 && n < unlimited && (least == 0 || n < least) {
				least = n
			}
			if at == "/" {
				break
			}
		}
	}
	return least
}

// unlimited is less than what version 1 says where there is no limit, and more
// than any machine has.
const unlimited = 1 << 60
