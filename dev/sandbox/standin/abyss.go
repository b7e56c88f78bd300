package standin

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// serverName is what oned's web server, Abyss of xmlrpc-c, calls itself.
const serverName = "Xmlrpc-c_Abyss/1.33.14"

// rpcPath is the only path that oned answers XML-RPC at.
const rpcPath = "/RPC2"

// ServeHTTP answers as Abyss does: with the same headers, the same bytes around the values, and the same refusals.
func (d *daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.slots <- struct{}{}
	defer func() { <-d.slots }()
	switch {
	case r.URL.Path != rpcPath:
		refuseHTTP(w, http.StatusNotFound, "File not found")
	case r.Method != http.MethodPost:
		refuseHTTP(w, http.StatusMethodNotAllowed, "POST is the only HTTP method this server understands")
	case r.ContentLength < 0:
		refuseHTTP(w, http.StatusLengthRequired, "You must send a content-length HTTP header in an XML-RPC call.")
	default:
		var request methodCall
		var answer methodResponse
		if err := readMessage(r.Body, &request); err != nil {
			answer = faultResponse(faultParse, "Call XML not a proper XML-RPC call.  "+err.Error())
		} else {
			answer = d.answer(r.Context(), request)
		}
		respondHTTP(w, http.StatusOK, "text/xml; charset=utf-8", answer.encode())
	}
}

// refuseHTTP answers with a page that says what is wrong.
func refuseHTTP(w http.ResponseWriter, status int, text string) {
	respondHTTP(w, status, "text/html", fmt.Appendf(nil, "<HTML><HEAD><TITLE>Error %d</TITLE></HEAD><BODY><H1>Error %[1]d</H1><P>%s</P>"+
		`<p><HR><b><i><a href="http://xmlrpc-c.sourceforge.net">ABYSS Web Server for XML-RPC For C/C++</a></i></b> version 1.33.14<br></p>`+
		"</BODY></HTML>", status, text))
}

func respondHTTP(w http.ResponseWriter, status int, contentType string, body []byte) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Date", time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC"))
	header.Set("Server", serverName)
	w.WriteHeader(status)
	// A client that is gone before its answer is no concern of the server.
	_, _ = w.Write(body)
}

// encode writes an answer as xmlrpc-c does.
func (m methodResponse) encode() []byte {
	var out bytes.Buffer
	line := func(text string) { out.WriteString(text + "\r\n") }
	line(`<?xml version="1.0" encoding="UTF-8"?>`)
	line("<methodResponse>")
	if m.Fault != nil {
		line("<fault>")
		out.WriteString("<value><struct>\r\n")
		for _, member := range m.Fault.Members {
			line("<member><name>" + member.Name + "</name>")
			line(member.Value.encode() + "</member>")
		}
		line("</struct></value>")
		line("</fault>")
	} else {
		line("<params>")
		for _, v := range m.Params {
			line("<param>" + v.encode() + "</param>")
		}
		line("</params>")
	}
	line("</methodResponse>")
	return out.Bytes()
}

func (v value) encode() string {
	switch {
	case v.Array != nil:
		var out strings.Builder
		out.WriteString("<array><data>\r\n")
		for _, element := range *v.Array {
			out.WriteString(element.encode() + "\r\n")
		}
		return "<value>" + out.String() + "</data></array></value>"
	case v.Boolean != nil:
		return fmt.Sprintf("<value><boolean>%d</boolean></value>", *v.Boolean)
	case v.I4 != nil:
		return fmt.Sprintf("<value><i4>%d</i4></value>", *v.I4)
	case v.I8 != nil:
		return fmt.Sprintf("<value><i8>%d</i8></value>", *v.I8)
	}
	// xmlrpc-c leaves quotes as they are.
	escaped := strings.NewReplacer("<", "&lt;", ">", "&gt;", "&", "&amp;", "\r", "&#x0d;").Replace(v.string())
	return "<value><string>" + escaped + "</string></value>"
}
