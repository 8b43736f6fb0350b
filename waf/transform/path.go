package transform

import "bytes"

// normalizePath is filepath.Clean of Unix, with what the engine makes of its
// ends: an empty path stays empty, so does what is cleaned to a dot, and a slash
// at the end stays. The path / therefore becomes //.
func normalizePath(dst []byte, value string) []byte { return clean(dst, value, false) }

// clean reads backslashes as slashes where windows is set.
func clean(dst []byte, value string, windows bool) []byte {
	if value == "" {
		return dst
	}
	slash := func(i int) bool { return value[i] == '/' || windows && value[i] == '\\' }
	base := len(dst)
	rooted := slash(0)
	if rooted {
		dst = append(dst, '/')
	}
	first := len(dst) // where the first name is written
	fixed := first    // what no .. takes back
	for i := 0; i < len(value); i++ {
		end := i
		for end < len(value) && !slash(end) {
			end++
		}
		switch name := value[i:end]; {
		case name == "" || name == ".":
		case name == ".." && len(dst) > fixed:
			cut := bytes.LastIndexByte(dst[fixed:], '/')
			dst = dst[:fixed+max(cut, 0)]
		case name == ".." && rooted:
		default:
			if len(dst) > first {
				dst = append(dst, '/')
			}
			if dst = append(dst, name...); name == ".." {
				fixed = len(dst)
			}
		}
		i = end
	}
	switch {
	case len(dst) == base: // a dot
		return dst
	case slash(len(value) - 1):
		return append(dst, '/')
	}
	return dst
}

// normalizePathWin is normalizePath with backslashes taken for slashes, and
// without what Windows overlooks: the name of a stream behind the last name, and
// dots and spaces at the end of each name.
func normalizePathWin(dst []byte, value string) []byte {
	base := len(dst)
	dst = clean(dst, value, true)
	dst = dst[:base+cutStream(dst[base:])]
	return dst[:base+trimNames(dst[base:])]
}

// cutStream removes from the last name of path what follows a colon, but for
// that of a drive, and returns the new length.
func cutStream(path []byte) int {
	start, end := 0, len(path)
	if len(path) >= 2 && path[1] == ':' && 'a' <= path[0]|0x20 && path[0]|0x20 <= 'z' {
		start = 2
	}
	slash := end > start && path[end-1] == '/'
	if slash {
		end--
	}
	name := start + bytes.LastIndexByte(path[start:end], '/') + 1
	if colon := bytes.IndexByte(path[name:end], ':'); colon >= 0 {
		end = name + colon
	}
	if slash {
		path[end] = '/'
		end++
	}
	return end
}

// trimNames removes dots and spaces at the end of each name, and names that are
// nothing else; a name of dots alone stays. It returns the new length.
func trimNames(path []byte) int {
	trimmable := false
	for name := range bytes.SplitSeq(path, []byte("/")) {
		trimmable = trimmable || len(bytes.TrimLeft(name, ".")) > 0 && len(bytes.TrimRight(name, ". ")) < len(name)
	}
	if !trimmable {
		return len(path)
	}
	out, wrote, start := 0, false, 0
	for i := 0; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		name := path[start:i]
		start = i + 1
		if len(bytes.TrimLeft(name, ".")) > 0 {
			if name = bytes.TrimRight(name, ". "); len(name) == 0 {
				continue
			}
		}
		if wrote {
			path[out] = '/'
			out++
		}
		out += copy(path[out:], name)
		wrote = true
	}
	return out
}
