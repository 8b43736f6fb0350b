package prover

import vars "github.com/corazawaf/coraza/v3/types/variables"

// A form is what of a fact a variable shows.
type form uint8

const (
	ofValue form = iota
	ofName       // the key itself, as ARGS_NAMES has it
)

// A source is where the values of a variable come from.
type source struct {
	facts Variable
	form  form
}

// sources are the variables that are made of facts. What is not here, such as
// the time, is not known before a rule runs.
var sources = map[Variable][]source{
	vars.Args:                 {{vars.ArgsGet, ofValue}, {vars.ArgsPost, ofValue}},
	vars.ArgsNames:            {{vars.ArgsGet, ofName}, {vars.ArgsPost, ofName}},
	vars.ArgsGet:              {{vars.ArgsGet, ofValue}},
	vars.ArgsGetNames:         {{vars.ArgsGet, ofName}},
	vars.ArgsPost:             {{vars.ArgsPost, ofValue}},
	vars.ArgsPostNames:        {{vars.ArgsPost, ofName}},
	vars.RequestHeaders:       {{vars.RequestHeaders, ofValue}},
	vars.RequestHeadersNames:  {{vars.RequestHeaders, ofName}},
	vars.RequestCookies:       {{vars.RequestCookies, ofValue}},
	vars.RequestCookiesNames:  {{vars.RequestCookies, ofName}},
	vars.ResponseHeaders:      {{vars.ResponseHeaders, ofValue}},
	vars.ResponseHeadersNames: {{vars.ResponseHeaders, ofName}},
	vars.XML:                  {{vars.RequestXML, ofValue}},
	vars.RequestXML:           {{vars.RequestXML, ofValue}},
}

// several are the variables that hold several values, or none, under keys.
var several = [...]Variable{
	vars.ArgsGet, vars.ArgsPost, vars.RequestHeaders, vars.RequestCookies, vars.ResponseHeaders, vars.RequestXML,
	vars.Files, vars.FilesNames, vars.FilesSizes, vars.FilesTmpContent, vars.MultipartPartHeaders, vars.MultipartName,
	vars.MultipartFilename, vars.MultipartFilenameCharset, vars.MultipartFilenameLanguage,
}

// singles are the variables that hold one value, always: what Facts.Get returns.
var singles = map[Variable]bool{
	vars.RequestMethod: true, vars.RequestProtocol: true, vars.RequestLine: true, vars.RequestURI: true, vars.RequestURIRaw: true,
	vars.RequestFilename: true, vars.RequestBasename: true, vars.QueryString: true, vars.RequestBody: true, vars.RequestBodyLength: true,
	vars.RemoteAddr: true, vars.RemotePort: true, vars.ServerName: true, vars.ServerAddr: true, vars.ServerPort: true,
	vars.ReqbodyProcessor: true, vars.ReqbodyError: true, vars.ReqbodyErrorMsg: true, vars.ReqbodyProcessorError: true, vars.ReqbodyProcessorErrorMsg: true,
	vars.InboundDataError: true, vars.UrlencodedError: true, vars.URIParseError: true, vars.ArgumentsLimitReached: true,
	vars.FilesCombinedSize: true, vars.MultipartStrictError: true, vars.MultipartDuplicatePartHeader: true, vars.MultipartInvalidQuoting: true,
	vars.ResponseStatus: true, vars.ResponseProtocol: true, vars.ResponseBody: true, vars.ResponseContentLength: true, vars.ResponseContentType: true,
	vars.OutboundDataError: true,
}

// settled are those of them that do not change once the head was read.
var settled = map[Variable]bool{
	vars.RequestMethod: true, vars.RequestProtocol: true, vars.RequestLine: true, vars.RequestURI: true, vars.RequestURIRaw: true,
	vars.RequestFilename: true, vars.RequestBasename: true, vars.QueryString: true,
	vars.RemoteAddr: true, vars.RemotePort: true, vars.ServerName: true, vars.ServerAddr: true, vars.ServerPort: true,
	vars.URIParseError: true, vars.ArgumentsLimitReached: true,
}

func init() {
	for _, v := range several {
		if sources[v] == nil {
			sources[v] = []source{{v, ofValue}}
		}
	}
	for v := range singles {
		sources[v] = []source{{v, ofValue}}
	}
}

// caseSensitive are the variables whose keys the engine does not fold when a rule
// names them.
var caseSensitive = map[Variable]bool{
	vars.Args: true, vars.ArgsNames: true, vars.ArgsGet: true, vars.ArgsPost: true, vars.ArgsGetNames: true, vars.ArgsPostNames: true,
}
