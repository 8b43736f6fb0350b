package audit

import (
	"bytes"
	"strings"
)

// secretWords are the words that make a name a secret's name, when they are one
// of its words ("user[password]", "newPassword"), or two or three of its words
// in a row ("X-Api-Key", "card_number"). In lower case, without separators.
const secretWords = `
	password passwd passphrase passcode passkey pass pwd psw pw pswd passw
	passwort kennwort wachtwoord motdepasse mdp contrasena contraseña senha haslo hasło parola salasana lösenord
	secret clientsecret credential creds cred
	token accesstoken refreshtoken idtoken authtoken csrftoken xsrftoken csrfmiddlewaretoken
	jwt bearer assertion samlresponse oauth
	auth authorization authentication
	apikey appkey accesskey secretkey privatekey signingkey encryptionkey masterkey sharedkey authkey sharedaccesskey
	signature sig hmac
	session sessionid sess sessid sid phpsessid jsessionid cfid cftoken
	csrf xsrf wpnonce
	codeverifier devicecode otp totp hotp mfa 2fa pin onetimecode verificationcode securitycode authcode smscode backupcode recoverycode
	card cardnumber cardno ccnumber ccnum creditcard pan cvv cvc csc cvn
	ssn socialsecurity socialsecuritynumber bsn iban accountnumber routingnumber
`

// secretTails are words so plain that a name which ends in one, run together
// with others ("userpassword", "mytoken"), is a secret's too.
var secretTails = [...]string{"password", "passwd", "passwort", "passphrase", "token", "secret", "apikey", "sessionid", "sessid", "pwd"}

// secretHeads are likewise at the beginning ("passwordagain", "aspsessionidqs").
var secretHeads = [...]string{"password", "passwd", "aspsessionid"}

// secretHeaders are the header fields whose whole value is a secret although
// their name has no secret word, or more than one value.
const secretHeaders = `
	authorization proxy-authorization cookie cookie2 set-cookie set-cookie2
	authentication-info proxy-authentication-info
	x-api-key x-auth-token x-csrf-token x-xsrf-token x-amz-security-token x-goog-api-key x-vault-token
	x-functions-key ocp-apim-subscription-key x-authorization x-forwarded-authorization
	x-ms-token-aad-access-token cf-access-jwt-assertion x-goog-iap-jwt-assertion x-amzn-oidc-data
	ssl-client-cert x-ssl-client-cert x-client-cert x-forwarded-client-cert dpop
`

// names tells which names are those of secrets. It is never modified once made.
type names struct {
	words   map[string]bool // as in secretWords
	headers map[string]bool // lower case
	// lengths has bit n set, by first byte, where there is a word of n bytes:
	// nearly every other name is told apart by that. Words of 31 bytes and
	// more share the last bit.
	lengths [256]uint32
}

// newNames adds an operator's names to the shipped ones. How their words are
// separated does not matter: "customer-no" means customerNo as well.
func newNames(fields, headers []string) *names {
	n := &names{words: map[string]bool{}, headers: map[string]bool{}}
	for _, w := range strings.Fields(secretWords) {
		n.words[w] = true
	}
	for _, f := range fields {
		if w := joined(f); w != "" {
			n.words[w] = true
		}
	}
	for _, h := range strings.Fields(secretHeaders) {
		n.headers[h] = true
	}
	for _, h := range headers {
		n.headers[strings.ToLower(strings.TrimSpace(h))] = true
	}
	for w := range n.words {
		n.lengths[w[0]] |= 1 << min(len(w), 31)
	}
	return n
}

// joined returns the letters and digits of a name in lower case.
func joined(name string) string {
	return strings.ToLower(strings.Map(func(r rune) rune {
		if r < 0x80 && !alnum(byte(r)) {
			return -1
		}
		return r
	}, name))
}

// header reports whether the whole value of a header field is a secret.
func (n *names) header(name string) bool {
	var buf [64]byte
	return n.headers[string(appendLower(buf[:0], name))] || n.field([]byte(name))
}

// field reports whether a parameter, cookie, JSON key, element or header field
// of the name holds a secret. A name's words end at a change of letter case and
// at every byte that is neither letter nor digit.
func (n *names) field(name []byte) bool {
	var buf [128]byte
	low := buf[:0]
	// Where the last word began, and the two before it.
	var w0, w1, w2 int
	for i := 0; i <= len(name); i++ {
		switch {
		case i == len(name) || !alnum(name[i]) && name[i] < 0x80:
		case i > 0 && upper(name[i]) && (lower(name[i-1]) || digit(name[i-1]) ||
			upper(name[i-1]) && i+1 < len(name) && lower(name[i+1])):
			if len(low) > w0 {
				if n.ends(low, w0, w1, w2) {
					return true
				}
				w0, w1, w2 = len(low), w0, w1
			}
			low = append(low, fold(name[i]))
			continue
		default:
			low = append(low, fold(name[i]))
			continue
		}
		if len(low) > w0 {
			if n.ends(low, w0, w1, w2) {
				return true
			}
			w0, w1, w2 = len(low), w0, w1
		}
	}
	return n.has(low)
}

// ends reports whether the last one, two or three words of low are a secret's.
func (n *names) ends(low []byte, w0, w1, w2 int) bool {
	last := low[w0:]
	if n.word(last) || w1 < w0 && n.word(low[w1:]) || w2 < w1 && n.word(low[w2:]) {
		return true
	}
	for _, t := range secretTails {
		if len(last) > len(t) && string(last[len(last)-len(t):]) == t {
			return true
		}
	}
	for _, h := range secretHeads {
		if len(last) > len(h) && string(last[:len(h)]) == h {
			return true
		}
	}
	return false
}

// word looks one word up, also without a number at its end and without the s
// of a plural.
func (n *names) word(w []byte) bool {
	if n.has(w) {
		return true
	}
	if bare := bytes.TrimRight(w, "0123456789"); len(bare) < len(w) && len(bare) > 1 {
		w = bare
		if n.has(w) {
			return true
		}
	}
	return len(w) > 3 && w[len(w)-1] == 's' && n.has(w[:len(w)-1])
}

func (n *names) has(w []byte) bool {
	return len(w) > 0 && n.lengths[w[0]]&(1<<min(len(w), 31)) != 0 && n.words[string(w)]
}

func appendLower[T string | []byte](dst []byte, s T) []byte {
	for i := 0; i < len(s); i++ {
		dst = append(dst, fold(s[i]))
	}
	return dst
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
func upper(c byte) bool { return 'A' <= c && c <= 'Z' }
func lower(c byte) bool { return 'a' <= c && c <= 'z' }
func alnum(c byte) bool { return digit(c) || upper(c) || lower(c) }

// fold returns the lower-case form of an ASCII letter, and a space for the plus
// sign that stands for one in forms.
func fold(c byte) byte {
	if upper(c) {
		return c + 'a' - 'A'
	}
	if c == '+' {
		return ' '
	}
	return c
}
