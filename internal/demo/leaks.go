package demo

import (
	"fmt"
	"io"
	"net"
	"net/http"
)

// own is the address that the request came in by: what an outsider must never
// learn.
func own(r *http.Request) string {
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		return a.String()
	}
	return "127.0.0.1:0"
}

// boom answers as a crashed application with debugging left on would, or with
// a line that no rule knows but that still gives the place away (how=quiet).
func (in instance) boom(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusInternalServerError)
	if r.FormValue("how") == "quiet" {
		fmt.Fprintf(w, "worker 7 of %s (%s) gave up waiting for db.shop.internal:3306\n", in.host, own(r))
		return
	}
	fmt.Fprintf(w, `java.lang.NullPointerException: Cannot invoke "Order.getTotal()" because "order" is null
	at org.example.shop.OrderService.total(OrderService.java:118)
	at org.example.shop.web.CheckoutController.submit(CheckoutController.java:64)
	at org.apache.catalina.core.ApplicationFilterChain.doFilter(ApplicationFilterChain.java:166)
	at java.base/java.lang.Thread.run(Thread.java:829)
Node: %s (%s), datasource: jdbc:mysql://db.shop.internal:3306/shop?user=shop&password=hunter2
`, in.host, own(r))
}

// leak answers with something that belongs on the server only: the source of a
// script (kind=php) or the error of a database (kind=sql).
func (in instance) leak(w http.ResponseWriter, r *http.Request) {
	switch r.FormValue("kind") {
	case "sql":
		in.databaseError(w, syntaxError("'%' LIMIT 10"))
	default:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<?php
$db = mysqli_connect("db.shop.internal", "shop", "hunter2", "shop");
$res = mysqli_query($db, "SELECT * FROM orders WHERE id = " . $_GET["id"]);
while ($row = mysqli_fetch_assoc($res)) { echo $row["total"]; }
?>
`)
	}
}

// databaseError shows the error of a failed statement to the visitor.
func (in instance) databaseError(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusInternalServerError)
	fmt.Fprintf(w, "<b>Warning</b>: mysqli_query(): %v in <b>/var/www/%s/search.php</b> on line <b>42</b>\n", err, in.host)
}

// about is a page that somebody has put too much under, and a field that is
// left over from debugging.
func (in instance) about(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Rendered-By", in.host+" at "+own(r))
	page(w, http.StatusOK, "About", fmt.Sprintf("<p>Made with care since 1348.</p><!-- %s, %s, db.shop.internal:3306 -->", in.host, own(r)))
}

// redirect sends the visitor to the instance's own address.
func redirect(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Location", "http://"+own(r)+"/landing")
	w.WriteHeader(http.StatusFound)
}

// landing is where redirect leads.
func landing(w http.ResponseWriter, _ *http.Request) {
	page(w, http.StatusOK, "Landed", "<p>You were redirected here.</p>")
}
