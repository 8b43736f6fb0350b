package strict

// Await waits for the first head, within its time, and reports whether there
// is anything to serve: a head, or a refusal in place of one. It may be called
// before anything is read, by the goroutine that will hand the connection on,
// so that a server begins to serve connections that have something to say.
func (c *Conn) Await() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inRead = true
	for len(c.out) == 0 && c.err == nil {
		if c.readHead(false) != nil {
			break // the owner has asked the read to end
		}
	}
	c.inRead = false
	if c.closed {
		c.release()
	}
	return len(c.out) > 0
}
