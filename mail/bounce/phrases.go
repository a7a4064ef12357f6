package bounce

import "strings"

// The phrases below are compared with a text in lower case whose white space is single
// spaces. They are the words of servers, in the languages in which servers speak.

// autoSubjects are the beginnings of subjects of automatic replies of people and their
// programs.
var autoSubjects = []string{
	"automatic reply", "auto-reply", "auto reply", "autoreply", "auto response", "auto-response", "autoresponse", "automated reply", "automated response",
	"auto:", "out of office", "out of the office", "out-of-office", "ooo:", "away from", "vacation", "on vacation", "on holiday", "i am away", "i'm away",
	"away until", "away:", "on leave", "annual leave",
	"automatische antwort", "abwesenheit", "abwesend", "ich bin nicht im büro", "außer haus", "urlaub",
	"réponse automatique", "reponse automatique", "absence du bureau", "absence :", "absence:", "en congé", "message d'absence", "absent du bureau", "notification d'absence",
	"respuesta automática", "respuesta automatica", "fuera de la oficina", "ausente", "fuera de oficina",
	"risposta automatica", "fuori ufficio", "assente", "assenza",
	"resposta automática", "resposta automatica", "ausência", "fora do escritório",
	"automatisch antwoord", "afwezig", "niet aanwezig", "automatische beantwoording",
	"automatisk svar", "autosvar", "frånvaro", "fravær", "automaattinen vastaus", "poissa", "autom. svar", "automatiskt svar",
	"odpowiedź automatyczna", "autoodpowiedź", "poza biurem", "automatická odpověď", "automatická odpoveď", "automatikus válasz", "răspuns automat",
	"автоответ", "автоматический ответ", "в отпуске", "вне офиса", "автоматична відповідь",
	"自動応答", "自動返信", "不在", "自动回复", "自動回覆", "外出", "자동 회신", "부재중", "otomatik yanıt", "αυτόματη απάντηση", "מענה אוטומטי", "رد تلقائي",
}

// challengeSubjects are in the subjects of programs that ask a sender to prove that it is a
// person.
var challengeSubjects = []string{
	"confirm that you sent", "confirm your message", "confirm your email to", "confirm your e-mail to", "confirmation required", "sender verification", "verify your email to",
	"requires confirmation", "requires verification", "awaiting your verification", "spam arrest", "action required to deliver",
}

// failureSubjects are in the subjects of bounces.
var failureSubjects = []string{
	"undeliver", "un-deliver", "not deliver", "non-deliver", "nondeliver", "non deliver", "returned mail", "mail returned", "returned to sender", "returning message", "returned e-mail", "returned email", "message returned",
	"failure notice", "delivery fail", "delivery has failed", "delivery status notification", "delivery notification", "delivery error", "delivery problem", "delivery report", "failed delivery", "delivery unsuccessful", "failed mail", "mail failed",
	"mail delivery", "mail failure", "mail system error", "mail error", "message delivery", "could not be delivered", "couldn't be delivered", "couldn't be sent", "could not be sent", "unable to deliver", "cannot be delivered",
	"cannot send", "can't be delivered", "address not found", "unknown user", "user unknown", "message not delivered", "mail not delivered", "bounced mail", "error sending your mail", "rejected mail", "message rejected", "error during delivery", "status notification", "undelivered",
	"unzustellbar", "nicht zugestellt", "nicht zustellbar", "zustellung fehlgeschlagen", "zustellung nicht möglich", "fehler bei der zustellung", "übermittlungsfehler", "zurückgewiesen",
	"non remis", "non-remise", "non remise", "non distribu", "échec de la remise", "échec de remise", "echec de", "échec de", "non délivr", "impossible de remettre", "message non",
	"no se puede entregar", "no se pudo entregar", "no entregado", "error de entrega", "no se ha podido entregar", "no entregable", "mensaje devuelto", "devuelto",
	"impossibile recapitare", "non recapitabile", "mancato recapito", "errore di consegna", "messaggio non", "recapito",
	"não entregue", "não foi possível entregar", "não é possível entregar", "falha na entrega", "devolvido", "não entregável",
	"onbestelbaar", "niet afgeleverd", "kan niet worden", "bezorging mislukt", "niet bezorgd",
	"olevererbar", "kan inte levereras", "kunne ikke leveres", "kan ikke leveres", "toimittaminen epäonnistui", "ei voi toimittaa", "uleverbar", "levereres ikke", "kunde inte", "leveransfel",
	"niedostarcz", "nie dostarczono", "nie można dostarczyć", "nedoručiteln", "nedoručen", "kézbesíthetetlen", "nu a fost livrat", "nelivrabil", "nedoručitel",
	"не доставлен", "недоставлен", "не может быть доставлен", "не удалось доставить", "ваше сообщение не доставлено", "сообщение не", "ошибка доставки", "недоставк", "не вдалося доставити",
	"配信不能", "配信できません", "送信できません", "送信エラー", "配信エラー", "エラーメール", "配送", "メールを送信できません", "届けられません", "未配信", "送信不能", "配達不能", "戻り",
	"退信", "无法投递", "無法傳遞", "无法送达", "無法投遞", "投递失败", "未送达", "未傳遞", "반송", "전달되지", "전송 실패", "배달되지", "배달할 수 없음",
	"iletilemedi", "teslim edilemedi", "gönderilemedi", "δεν είναι δυνατή η παράδοση", "μη παραδοτέο", "אינו ניתן למסירה", "לא נמסר", "تعذر تسليم", "غير قابل للتسليم",
}

// failureWords say that a mail was not delivered.
var failureWords = []string{
	"could not be delivered", "couldn't be delivered", "couldn’t be delivered", "cannot be delivered", "can not be delivered", "can't be delivered", "not be delivered", "was not delivered", "not delivered", "undeliverable", "undelivered", "could not deliver", "couldn't deliver",
	"unable to deliver", "wasn't able to deliver", "was not able to", "were unable to deliver", "not able to deliver", "delivery failed", "delivery has failed", "delivery failure", "deliver failure", "delivery to the following", "delivery to these", "failed to deliver", "failed permanently",
	"permanent error", "permanent fatal error", "permanent failure", "permanent delivery", "fatal error", "delivery error", "delivery problem", "had delivery", "did not reach", "didn't reach", "has been rejected", "was rejected", "rejected your message",
	"were rejected", "refused to accept", "error has occurred", "error occurred", "an error delivering", "was aborted", "returned to you", "has been returned", "returned mail", "gave up", "giving up", "given up", "trouble delivering", "recipients failed", "address failed", "addresses failed", "non-delivered",
	"nonexistent", "unknown user", "user unknown", "no such user", "failure reasons", "delivery errors", "could not be sent", "cannot send", "bounced", "failed address", "was unable to", "failed recipient", "invalid recipient", "failed to be delivered", "delivery of the", "problem delivering",
	"unsent message", "transcript of session", "was not accepted", "invalid user address", "exceeds allowed size", "mailbox is full", "unknown recipient", "rejected recipient", "delivery attempt",
	"nicht zugestellt", "unzustellbar", "nicht ausgeliefert", "konnte nicht", "fehlgeschlagen", "nicht zustellbar", "nicht übermittelt",
	"n'a pas pu être", "n’a pas pu être", "n'a pu être", "non remis", "échec de la remise", "pas été remis", "impossible de", "échoué", "non délivr", "n'ont pas pu", "n'a pas été",
	"no se pudo entregar", "no se puede entregar", "no se ha podido", "no ha podido", "error al entregar", "no pudo ser entregado", "no fue entregado",
	"non è stato possibile", "impossibile recapitare", "non può essere", "non è stato recapitato", "non è stato consegnato", "non recapit",
	"não foi possível", "não pôde ser", "não pode ser", "falha na entrega", "não foi entregue",
	"kon niet worden", "kan niet worden", "is mislukt", "niet bezorgd", "niet afgeleverd",
	"kunde inte", "kunne ikke", "kunne ikke leveres", "ei voitu toimittaa", "epäonnistui",
	"nie można dostarczyć", "nie została dostarczona", "nie udało się", "nebylo možné doručit", "nelze doručit", "nem sikerült", "nu a putut fi",
	"не может быть доставлено", "не может быть доставлен", "не удалось доставить", "не доставлен", "не было доставлено", "не вдалося",
	"送信できません", "配信できません", "配信できなかった", "届けることができません", "お届けできません", "送信に失敗", "配信に失敗", "配達できません", "送信できませんでした", "存在しない", "届きません", "配送できません",
	"无法投递", "无法送达", "投递失败", "無法傳遞", "無法投遞", "未能送达", "退信", "전달할 수 없습니다", "배달하지 못했습니다", "전송하지 못했습니다", "반송",
	"iletilemedi", "teslim edilemedi", "δεν ήταν δυνατή", "לא ניתן למסור", "تعذر تسليم",
}

// delayWords say that the server goes on trying.
var delayWords = []string{
	"warning message only", "this is a warning", "is only a warning", "will be retried", "will be attempted", "still being retried", "continue to be attempted", "attempts will continue", "delivery attempts will", "will keep trying", "keep trying", "continue trying", "will continue to",
	"do not need to resend", "don't need to resend", "not need to resend", "no need to resend", "no action is required", "not yet been delivered", "has not been delivered yet", "not been delivered yet", "has been delayed", "delivery is delayed", "is delayed", "message delayed", "message is delayed", "delivery delayed", "delivery incomplete",
	"delayed mail", "still undelivered", "could not be delivered for", "not able to be delivered yet", "has not yet been", "have not yet been", "gmail will retry", "will retry", "temporary problem", "temporarily delayed", "try again later to deliver", "transient non-fatal errors", "still trying",
	"noch nicht zugestellt", "wird weiterhin versucht", "verzögert", "weitere zustellversuche", "brauchen die nachricht nicht erneut", "pas encore été", "retardé", "nouvelles tentatives", "se seguirá intentando", "retrasado", "retrasada", "aún no se ha", "è in ritardo", "non ancora", "ritardo nella consegna", "está atrasad", "nog niet bezorgd",
	"vertraagd", "försenad", "forsinket", "opóźnion", "zpožděn", "задержан", "отложен", "будут продолжены", "遅延", "遅れて", "再送を試み", "延迟", "延遲", "지연",
}

// deliveredWords say that a mail was delivered.
var deliveredWords = []string{
	"delivery report that you requested", "was successfully delivered", "has been successfully delivered", "were successfully delivered", "successfully delivered to", "successfully relayed", "was relayed to", "has been successfully relayed", "your message was delivered", "delivery to these recipients or groups is complete",
	"erfolgreich zugestellt", "remis avec succès", "se entregó correctamente",
}

// finalWords outweigh delayWords: the server has given up.
var finalWords = []string{
	"is a permanent error", "permanent fatal", "been a permanent failure", "permanent delivery failure", "failed permanently", "given up", "giving up on your", "gave up", "i'm not going to try again", "this message has been in the queue too long", "could not be delivered after", "no further delivery", "no further attempts", "will not be retried", "has failed to these",
	"was aborted after", "retry timeout exceeded", "message has been in the queue", "has been removed from the queue", "final attempt", "stopped trying",
}

// containsAny reports whether text contains one of the phrases.
func containsAny(text string, phrases []string) bool {
	for _, phrase := range phrases {
		if strings.Contains(text, phrase) {
			return true
		}
	}
	return false
}

// beginsWithAny reports whether text begins with one of the phrases.
func beginsWithAny(text string, phrases []string) bool {
	for _, phrase := range phrases {
		if strings.HasPrefix(text, phrase) {
			return true
		}
	}
	return false
}

// fold returns a text in the form that phrases compare.
func fold(text string) string { return strings.Join(strings.Fields(strings.ToLower(text)), " ") }
