package ftw

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// maxReflection bounds the instruction that the backend takes.
const maxReflection = 4 << 20

// A reflection is what a client asks the backend to answer.
type reflection struct {
	Status      int               `json:"status"` // 200 to 599; default 200
	Headers     map[string]string `json:"headers"`
	Body        string            `json:"body"`
	EncodedBody string            `json:"encodedBody"` // base64; used when Body is empty
	LogMessage  string            `json:"logMessage"`  // accepted, not logged
}

// Backend returns the server that the Core Rule Set's tests expect behind the
// gateway: POST /reflect answers with what the JSON in its body describes, GET
// /capabilities tells so, and everything else is answered with an empty 200.
// It holds no state.
func Backend() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := strings.TrimSuffix(r.URL.Path, "/"); {
		case path == "/reflect" && r.Method == http.MethodPost:
			reflect(w, r)
		case path == "/capabilities" && r.Method == http.MethodGet:
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"endpoints":[{"path":"/*"},{"path":"/capabilities","methods":["GET"]},{"path":"/reflect","methods":["POST"],"contentType":"application/json"}]}`)
		default:
			w.WriteHeader(http.StatusOK)
		}
	})
}

// reflect answers as it is told.
func reflect(w http.ResponseWriter, r *http.Request) {
	src, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReflection))
	if err != nil {
		reject(w, "cannot read the body")
		return
	}
	var spec reflection
	if err := json.Unmarshal(src, &spec); err != nil {
		reject(w, "the body is not a reflection in JSON")
		return
	}
	if spec.Status == 0 {
		spec.Status = http.StatusOK
	}
	if spec.Status < 200 || spec.Status > 599 {
		reject(w, "the status is not between 200 and 599")
		return
	}
	body := []byte(spec.Body)
	if len(body) == 0 {
		if body, err = base64.StdEncoding.DecodeString(spec.EncodedBody); err != nil {
			reject(w, "encodedBody is not base64")
			return
		}
	}
	for name, value := range spec.Headers {
		w.Header().Set(name, value)
	}
	w.WriteHeader(spec.Status)
	_, _ = w.Write(body)
}

// reject answers an instruction that cannot be followed.
func reject(w http.ResponseWriter, what string) {
	w.WriteHeader(http.StatusBadRequest)
	_, _ = io.WriteString(w, what+"\n")
}
