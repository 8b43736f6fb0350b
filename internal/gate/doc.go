// Package gate is the vocabulary that every stage of the gateway speaks:
// a Request on its way in, the Head that was read strictly from the wire, the
// Verdict of a stage, the closed set of Reasons, the audit Record that a
// request ends in, and the Diagnostic that a bad configuration yields.
//
// It decides nothing and imports nothing of ours. A word that appears here
// appears with the same spelling in records, metrics and documents.
package gate
