// Package text reads the text that people bring: captions, prompts, JSON, JSONL and CSV.
//
// A text is in UTF-8, with or without a byte order mark, or in UTF-16, which its byte order mark
// says. Lines end in LF, CRLF or CR. The mark is no part of the text, also where files with marks
// were put one behind another. What is read is UTF-8 whose lines end in LF.
//
// Anything else is an error of the line where it begins, which says what to do: bytes that are not
// UTF-8, as those of Windows-1252 and Latin-1; zero bytes, as UTF-16 without a mark has them;
// UTF-32; the escapes of ISO-2022. So is a file that is read as text by mistake and would pass for
// it: a web page, RTF, PDF, and what Git LFS leaves in place of a file. Nothing is guessed and
// nothing is replaced.
//
// Errors do not name this package: the package that calls puts its own name before them.
package text
