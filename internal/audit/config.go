package audit

// Config says what is written down, where, and what is left out of it.
type Config struct {
	// Path is the file that records are appended to (audit.path); "-" is
	// standard output (default). Created with mode 0600.
	Path string
	// All writes every record (audit.log: all). Default: only the relevant
	// ones: whose action is observe, refuse or fail, or of whose body the rules
	// saw only the beginning.
	All bool
	// RedactFields are names of parameters, cookies and JSON keys whose values
	// are never written (audit.redact.fields), beyond the shipped list.
	// Compared without regard to letter case.
	RedactFields []string
	// RedactHeaders are further names of header fields (audit.redact.headers).
	RedactHeaders []string
	// RulesLog is a file that gets one ModSecurity-style line per matched rule
	// (audit.rules_log); empty (default): none. Meant for test runs: the lines
	// are written while the request waits, of every request, whatever All says.
	RulesLog string
	// Key is the key of the hashes that stand in for redacted values, so that
	// repeats line up; 32 bytes, derived from the secret in state.dir. Empty:
	// drawn by lot, and different after each start.
	Key []byte
	// Queue is how many records wait for the writer at most, of 64 MiB in all.
	// Default 8192. Records that find it full are counted and dropped.
	Queue int
}
