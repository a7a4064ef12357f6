package templates

import "html/template"

// These functions write the conditional comments that Outlook for Windows needs, because
// html/template deletes HTML comments. They have no parameters, so data of a task cannot
// get into the comments.

func msoHead() template.HTML {
	return `<!--[if mso]><noscript><xml><o:OfficeDocumentSettings><o:AllowPNG/><o:PixelsPerInch>96</o:PixelsPerInch></o:OfficeDocumentSettings></xml></noscript>` +
		`<style>table{border-collapse:collapse;mso-table-lspace:0;mso-table-rspace:0}table,td,th,p,h1,h2,a,span{font-family:'Segoe UI',Arial,sans-serif!important}</style><![endif]-->`
}

// msoColumn opens a table of fixed width: Word ignores max-width.
func msoColumn() template.HTML {
	return `<!--[if mso]><table role="presentation" align="center" width="560" cellpadding="0" cellspacing="0" border="0"><tr><td><![endif]-->`
}

func msoColumnEnd() template.HTML { return `<!--[if mso]></td></tr></table><![endif]-->` }

// msoPad is the horizontal padding of a button: Word ignores the padding of a
// link, and a wide space inside the link keeps all of the button clickable.
func msoPad() template.HTML {
	return `<!--[if mso]><i style="mso-font-width:300%;mso-text-raise:20pt" hidden>&emsp;</i><![endif]-->`
}

func msoPadEnd() template.HTML {
	return `<!--[if mso]><i style="mso-font-width:300%" hidden>&emsp;&#8203;</i><![endif]-->`
}
