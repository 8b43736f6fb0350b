package waf

import (
	"errors"
	"io"
)

// maxWithheld is how many coded bytes may wait beyond what the policy allows to
// hold: what decoders lag behind, and chunks on their way. Bytes that come to
// no content, such as empty blocks, end here.
const maxWithheld = 1 << 20

// errWithheld says that too many coded bytes would have to wait.
var errWithheld = errors.New("too many coded bytes without content")

// A codedUpload decodes the body of an upload for its form. The upload's buf
// holds the coded bytes, from the first one that was not passed on.
//
// Before it decodes, it waits for as much as is held of any upload, so that a
// client that sends a few bytes and falls silent takes no decoder.
type codedUpload struct {
	*decoding
	u       *upload
	content []byte // the chunk that was decoded
	fed     int    // how much of buf the decoder was given
	watched int    // how much of buf was looked at undecoded
	gone    int64  // coded bytes that were passed on, and are not in buf any more
	end     error  // what the body ended in
	plain   plainParts
}

// decode makes the upload decode its body.
func (u *upload) decode() {
	c := &codedUpload{u: u, plain: plainParts{delimiter: u.form.delimiter[2:]}}
	for len(u.buf) < smallUpload && c.end == nil {
		c.end = c.receive()
	}
	if c.end == io.EOF && len(u.buf) == 0 {
		return // there is no body
	}
	c.decoding = u.t.decode(u.t.coding, c)
	u.coded = c
}

// receive reads more coded bytes.
func (c *codedUpload) receive() error {
	if err := c.u.reserve(2 * uploadChunk); err != nil {
		return err
	}
	_, err := c.u.receive()
	return err
}

// watch looks at what came since the last time. The transaction is locked.
func (c *codedUpload) watch() {
	c.plain.feed(c.u.buf[c.watched:])
	c.watched = len(c.u.buf)
}

// fetch decodes one more chunk.
func (c *codedUpload) fetch() ([]byte, error) {
	if c.content == nil {
		c.content = chunks.Get().(*[uploadChunk]byte)[:]
	}
	if err := c.u.reserve(2 * uploadChunk); err != nil {
		return nil, err
	}
	n, err := c.decoding.Read(c.content)
	return c.content[:n], err
}

// Read gives coded bytes to the decoder.
func (c *codedUpload) Read(p []byte) (int, error) {
	for c.fed == len(c.u.buf) {
		switch {
		case c.end != nil:
			return 0, c.end
		case int64(len(c.u.buf)) > c.u.t.policy.Inspect+maxWithheld:
			return 0, errWithheld
		}
		c.end = c.receive()
	}
	n := copy(p, c.u.buf[c.fed:])
	c.fed += n
	return n, nil
}

// ready is how much of buf may be passed on while the form is in a file.
func (c *codedUpload) ready() int { return int(c.Settled() - c.gone) }

// dropped is told that the first n bytes of buf were dropped.
func (c *codedUpload) dropped(n int) {
	c.fed -= n
	c.watched -= n
	c.gone += int64(n)
}

// close ends the decoding. It may be called more than once.
func (c *codedUpload) close() {
	c.decoding.close()
	recycle(c.content)
	c.content = nil
}

// finishCoding ends decoding. What follows is not looked at.
func (u *upload) finishCoding() {
	if u.coded != nil {
		u.coded.close()
		u.coded = nil
	}
}
