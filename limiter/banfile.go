package limiter

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// maxBanFile bounds what is read of a file of bans, in bytes.
const maxBanFile = 256 << 20

// A banFile is what outlives a restart.
type banFile struct {
	Version int   `json:"v"`
	Bans    []Ban `json:"bans"`
}

// Save writes the bans to a file that replaces the one with the name at once,
// or does nothing when nothing has changed since the last time. One call at a
// time.
func (b *Bans) Save(name string) error {
	text, err := b.book.text()
	if err != nil || text == nil {
		return err
	}
	if err := replace(name, text); err != nil {
		b.book.mu.Lock()
		b.book.changed = true // for the next time
		b.book.mu.Unlock()
		return fmt.Errorf("save the bans: %w", err)
	}
	return nil
}

// text is what a file is to hold; nil: nothing has changed.
func (k *banBook) text() ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.changed {
		return nil, nil
	}
	k.changed = false
	f := banFile{Version: 1, Bans: []Ban{}}
	for client, o := range k.pages {
		if o.bans > 0 { // one that has ended counts for how long the next one lasts
			f.Bans = append(f.Bans, o.ban(client))
		}
	}
	return json.Marshal(f)
}

// replace writes a file under another name and renames it, so that a reader,
// and the next start, see the old one whole or the new one whole.
func replace(name string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Restore takes over the bans of a file, the first time that it is called for
// them and for those they came from; there need not be a file.
func (b *Bans) Restore(name string) error {
	b.book.mu.Lock()
	done := b.book.restored
	b.book.mu.Unlock()
	if done {
		return nil
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the bans: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	var file banFile
	err = json.NewDecoder(io.LimitReader(f, maxBanFile)).Decode(&file)
	if err == nil && file.Version != 1 {
		err = fmt.Errorf("version %d is not known", file.Version)
	}
	if err != nil {
		return fmt.Errorf("read the bans: %s: %w; remove the file to start without them", name, err)
	}
	b.book.restore(file.Bans, b.cfg, time.Now())
	return nil
}

func (k *banBook) restore(bans []Ban, cfg BanConfig, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.restored = true
	for _, ban := range bans {
		if !ban.Client.IsValid() || now.Sub(ban.Until) > cfg.Max || len(k.pages) >= cfg.MaxClients {
			continue
		}
		client := Key(ban.Client.Addr())
		if client == (netip.Prefix{}) || k.pages[client] != nil {
			continue
		}
		o := &offender{full: now, since: ban.Since, until: ban.Until, bans: ban.Repeats + 1, reason: ban.Reason}
		k.pages[client] = o
		k.banned.Add(1)
	}
}
